/**
 * Which statements a handler must not run: those that end or nest the transaction of the call, which is the lane's to do,
 * and those that reconfigure the connection for every later call. SQLite acts on some pragmas while it compiles them, so
 * these are refused by their text, before SQLite sees them.
 */
import { HandlerError } from '../errors.ts';

const REFUSED = new Map([
  ['BEGIN', 'each write call already runs in a transaction; use db.transaction(…) of the api for several calls'],
  ['COMMIT', 'the transaction is committed by the caller, after the handler returned'],
  ['END', 'the transaction is committed by the caller, after the handler returned'],
  ['ROLLBACK', 'throw an error and the whole call is undone'],
  ['SAVEPOINT', 'use db.transaction(…) of the handler'],
  ['RELEASE', 'use db.transaction(…) of the handler'],
  ['ATTACH', 'open the other file as a database of its own'],
  ['DETACH', 'open the other file as a database of its own'],
  ['VACUUM', 'it cannot run inside a transaction'],
]);

/**
 * Pragmas that take an argument and only answer. One without an argument answers, or works on the file as a whole
 * (`optimize`, `wal_checkpoint`), and leaves the connection as it is.
 */
const ANSWERING = new Set([
  'table_info',
  'table_xinfo',
  'table_list',
  'index_list',
  'index_info',
  'index_xinfo',
  'foreign_key_list',
  'foreign_key_check',
  'integrity_check',
  'quick_check',
]);

const COMMENTS = /--[^\n]*|\/\*[\s\S]*?(?:\*\/|$)/g;
/** Past white space, empty statements and EXPLAIN, under which a pragma still acts. */
const FIRST_WORD = /^[\s;]*(?:explain\s+(?:query\s+plan\s+)?)?([a-z]+)/i;
const PRAGMA_NAME = /pragma\s*(?:[\w"'`[\]]+\s*\.\s*)?["'`[]?(\w+)["'`\]]?\s*[=(]/i;

/** @throws {HandlerError} for a statement that is not a handler's to run */
export function refuseControl(source: string): void {
  // A comment inside a string literal goes too, which can change no first word and no pragma's name.
  const text = source.replaceAll(COMMENTS, ' ');
  const word = FIRST_WORD.exec(text)?.[1]?.toUpperCase() ?? '';
  const reason = REFUSED.get(word);
  if (reason !== undefined) {
    throw new HandlerError(`${word} inside a handler: ${reason}`);
  }
  if (word !== 'PRAGMA' || !/[=(]/.test(text)) return;
  const pragma = PRAGMA_NAME.exec(text)?.[1]?.toLowerCase() ?? '';
  if (!ANSWERING.has(pragma)) {
    throw new HandlerError(
      `PRAGMA ${pragma} with a value inside a handler: it would change the connection for every later call; ` +
        'use the option "pragmas" of open',
    );
  }
}
