import { ContextError, HandlerError, ReadOnlyError, TransactionEndedError } from '../errors.ts';

/** What a connection's statements may do right now. */
export type Access = 'none' | 'prepare' | 'read' | 'write' | 'ended';

/**
 * The gate every statement of a connection passes before it runs.
 *
 * Invariant: it is open only while a handler is running synchronously on this connection. A promise that was started
 * inside a handler, a timer, or a factory's kept `db` therefore always finds it closed, whoever holds the connection by
 * then.
 */
export class Gate {
  access: Access = 'none';
  /** The call that is running, or ran last, for messages. */
  label = '';
  /** Statements that the running read has begun. */
  statements = 0;
  /** Statements that may write, begun by the running write. */
  writes = 0;
  /** A statement of the running write ended the whole transaction. */
  lost = false;
  /** Set while a read runs without a transaction of its own, which is sound for one statement only. */
  single = false;
  /** A read that was to be one statement wanted a second one: what it returns is void, and it has to run again. */
  overrun = false;
  /** The file, for messages. */
  readonly place: string;

  constructor(place: string) {
    this.place = place;
  }

  /** @throws {ContextError} when closed, {@link ReadOnlyError} for a write while reading. */
  enter(readonly: boolean, source: string): void {
    if (this.access === 'write') {
      if (readonly) return;
      this.writes += 1;
      return;
    }
    if (this.access !== 'read') {
      if (this.access === 'none') throw this.#outside(source);
      if (this.access === 'prepare') throw inFactory(source);
      throw ended(source);
    }
    if (!readonly) throw writeInRead(source);
    this.statements += 1;
    if (this.single && this.statements > 1) {
      this.overrun = true;
      throw new Overrun();
    }
  }

  /** @throws {ContextError} when statements cannot be prepared now. */
  prepare(source: string): void {
    if (this.access === 'none') throw this.#outside(source);
  }

  #outside(source: string): ContextError {
    const last = this.label === '' ? 'lent to nobody yet' : `last lent to ${this.label}`;
    return new ContextError(
      `${excerpt(source)}: used outside the handler call it belongs to, on a connection of ${this.place}, ${last}; ` +
        'a handler is synchronous, and its db ends with the call: call the api instead',
    );
  }
}

/** Unwinds a read at its second statement. Never reaches a caller. */
class Overrun extends HandlerError {
  constructor() {
    super('this call runs more than one statement, and is run again');
  }
}

function ended(source: string): TransactionEndedError {
  return new TransactionEndedError(
    `${excerpt(source)}: an earlier statement of this call ended the whole transaction, and the handler caught its error; let it pass`,
  );
}

function inFactory(source: string): ContextError {
  return new ContextError(`${excerpt(source)}: run by a factory; a factory prepares statements, its handlers run them`);
}

function writeInRead(source: string): ReadOnlyError {
  return new ReadOnlyError(`${excerpt(source)}: a write in a read; move it to the repository's writes`);
}

/** The start of a statement for a message: its text holds placeholders, not values. */
function excerpt(source: string): string {
  const line = source.replaceAll(/\s+/g, ' ').trim();
  return line.length > 60 ? `${line.slice(0, 59)}…` : line;
}
