/**
 * Reads the ledger's CSV. A row is a line: a field in quotes may hold commas and doubled quotes but no line break, so
 * that a quote somebody forgot to close spoils its own line and not the rest of the file, and every line number is the
 * one an editor shows. UTF-8 with or without a byte order mark, LF or CRLF, columns in any order.
 */
import { createReadStream } from 'node:fs';
import { CsvError, parse } from 'csv-parse/sync';
import { type AccountForm, readAccount, readTransfer, type TransferForm } from './forms.ts';
import { csvColumns } from './generate.ts';
import { type Line, readLines } from './lines.ts';
import { ValidationError } from './validate.ts';

/** What one line says, or why it says nothing usable. */
export type Row =
  | { readonly kind: 'account'; readonly line: number; readonly end: number; readonly account: AccountForm }
  | { readonly kind: 'transfer'; readonly line: number; readonly end: number; readonly transfer: TransferForm }
  | { readonly kind: 'bad'; readonly line: number; readonly end: number; readonly reason: string };

/** The file cannot be imported at all: it is missing, empty, or not this kind of CSV. */
export class CsvFileError extends Error {
  constructor(file: string, problem: string, options?: ErrorOptions) {
    super(`${file}: ${problem}`, options);
    this.name = 'CsvFileError';
  }
}

/** No honest row comes near; a longer line is a damaged file. */
const longestLine = 64 * 1024;

/** Opens the file and checks its header; the rows follow as they are asked for. @throws CsvFileError */
export async function openCsv(file: string): Promise<AsyncGenerator<Row, void, undefined>> {
  const lines = readLines(createReadStream(file), longestLine);
  try {
    const first = await lines.next();
    if (first.done) throw new CsvFileError(file, `is empty; its first line should be ${csvColumns.join(',')}`);
    return readRows(lines, readHeader(file, first.value));
  } catch (error) {
    await lines.return();
    throw error instanceof CsvFileError
      ? error
      : new CsvFileError(file, `cannot be read: ${why(error)}`, { cause: error });
  }
}

async function* readRows(
  lines: AsyncGenerator<Line, void, undefined>,
  header: readonly string[],
): AsyncGenerator<Row, void, undefined> {
  for await (const line of lines) {
    if (line.bytes?.length === 0) continue;
    yield readRow(line, header);
  }
}

function readRow(line: Line, header: readonly string[]): Row {
  const position = { line: line.number, end: line.end };
  try {
    const fields = splitLine(line);
    if (fields.length !== header.length) {
      return { kind: 'bad', ...position, reason: `has ${fields.length} fields instead of ${header.length}` };
    }
    const { kind, ...values } = Object.fromEntries(header.map((column, index) => [column, fields[index] ?? '']));
    if (kind === 'account') return { kind, ...position, account: readAccount(values, 'text') };
    if (kind === 'transfer') return { kind, ...position, transfer: readTransfer(values, 'text') };
    return { kind: 'bad', ...position, reason: `kind is ${JSON.stringify(kind)}, not account or transfer` };
  } catch (error) {
    if (error instanceof ValidationError || error instanceof LineError) {
      return { kind: 'bad', ...position, reason: error.message };
    }
    throw error;
  }
}

/** The line cannot be cut into fields. */
class LineError extends Error {}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function splitLine({ bytes }: Line): string[] {
  if (!bytes) throw new LineError(`is longer than ${longestLine} bytes`);
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch {
    throw new LineError('is not UTF-8');
  }
  try {
    // The delimiter is named because csv-parse would otherwise take a stray carriage return for the end of the row.
    const [fields = []] = parse(text, { record_delimiter: '\n', relax_column_count: true });
    return fields;
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
    throw new LineError(quoteProblems.get(error.code) ?? error.message);
  }
}

// csv-parse's own messages count lines within what it was given, which is always line 1 here.
const quoteProblems = new Map<string, string>([
  ['CSV_QUOTE_NOT_CLOSED', 'has a quote that is not closed on the same line'],
  ['INVALID_OPENING_QUOTE', 'has a quote inside a field that does not begin with one'],
  ['CSV_INVALID_CLOSING_QUOTE', 'has text after a closing quote'],
]);

function readHeader(file: string, line: Line): string[] {
  const bytes = line.bytes;
  if (bytes && (bytes[0] === 0xff || bytes[0] === 0xfe)) {
    throw new CsvFileError(file, 'looks like UTF-16; save it as UTF-8');
  }
  const expected = csvColumns.join(',');
  let found: string[];
  try {
    found = splitLine(line);
  } catch (error) {
    throw new CsvFileError(file, `line 1 ${why(error)}; it should be ${expected}`);
  }
  const header = found.map((name, index) => (index === 0 ? name.replace(/^\u{feff}/u, '') : name).trim());
  const sorted = (names: readonly string[]) => [...names].sort().join();
  if (sorted(header) === sorted(csvColumns)) return header;
  const shown = header.join(',').slice(0, 200);
  const hint = header.length === 1 && header[0]?.includes(';') ? ' (the columns are separated by commas)' : '';
  throw new CsvFileError(file, `the first line should be ${expected}${hint}, not ${JSON.stringify(shown)}`);
}

function why(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = 'code' in error ? error.code : undefined;
  if (code === 'ENOENT') return 'there is no such file';
  if (code === 'EISDIR') return 'it is a folder';
  if (code === 'EACCES') return 'permission denied';
  return error.message;
}
