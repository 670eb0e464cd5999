import { setImmediate as lastAnswers } from 'node:timers/promises';
import { ClosedError, StrategyError } from '../errors.ts';
import { openHere } from '../open.ts';
import { readOptions } from '../options.ts';
import { isPlain } from '../plain.ts';
import { type Registry } from '../repository/types.ts';
import { encodeError } from './error-codec.ts';
import { describeMethods } from './protocol.ts';
import { stepBack } from './step-back.ts';
import { Switchboard } from './switchboard.ts';
import { type Order, type Report, type ThreadStart } from './thread-messages.ts';

/**
 * Opens the database in this thread. What it returns obeys the keeper's orders.
 *
 * @param heed obeys those that are urgent, and have arrived
 */
export async function ownDatabase(
  module: Record<string, unknown>,
  { registry, names, options, behind, urgent }: ThreadStart,
  heed: () => void,
  report: (message: Report) => void,
): Promise<(order: Order) => void> {
  const repositories = findRegistry(module, registry, names);
  const settings = readOptions({ ...options, repositories });
  const { strategy, decision, leave } = await openHere(settings);

  // What was given up on is named where it is answered: there it is known whether its caller has been told.
  const labels = new Map<unknown, string>();
  const abandoned: string[] = [];
  const switchboard = new Switchboard(strategy, settings.errors, {
    starting() {
      if (Atomics.load(urgent, 0) !== 0) heed();
    },
    failed(error) {
      const label = labels.get(error);
      if (label !== undefined && labels.delete(error)) abandoned.push(label);
    },
  });

  async function drain(): Promise<void> {
    switchboard.refuse(decision.facts.file);
    await strategy.idle();
    await lastAnswers();
    report({ kind: 'drained', abandoned: abandoned.splice(0) });
    labels.clear();
  }
  async function nameRunning(): Promise<void> {
    report({ kind: 'running', labels: await strategy.running() });
  }
  function abandon(because: string): void {
    const reason = (label: string): ClosedError => {
      const error = new ClosedError(`${label}: ${because}`);
      labels.set(error, label);
      return error;
    };
    switchboard.giveUp(reason);
    strategy.abandon(reason);
  }
  function prepare(): void {
    try {
      strategy.prepareClose?.();
      report({ kind: 'prepared', error: undefined });
    } catch (error) {
      report({ kind: 'prepared', error: encodeError(error) });
    }
  }
  async function close(): Promise<void> {
    try {
      await strategy.close();
    } catch (error) {
      report({ kind: 'closed', error: encodeError(error) });
      return;
    }
    leave();
    switchboard.close();
    report({ kind: 'closed', error: undefined });
  }
  function resume(): void {
    strategy.resume?.();
    switchboard.accept();
  }

  if (behind) stepBack();
  const { timeout, maxQueue, readers } = settings;
  report({ kind: 'ready', decision, methods: describeMethods(strategy.methods), timeout, maxQueue, readers });
  return (order) => {
    switch (order.kind) {
      case 'serve':
        switchboard.serve(order.port, order.page);
        break;
      case 'drain':
        void drain();
        break;
      case 'name running':
        void nameRunning();
        break;
      case 'abandon':
        abandon(order.because);
        break;
      case 'prepare':
        prepare();
        break;
      case 'close':
        void close();
        break;
      case 'resume':
        resume();
    }
  };
}

/** The registry among its module's exports: made for this url, and with these repositories. */
function findRegistry(module: Record<string, unknown>, url: string, names: readonly string[]): Registry {
  const registries = new Set(Object.values(module).filter(isRegistry));
  const found = [...registries].filter(
    (each) => String(Object.keys(each.repositories)) === String(names) && each.url === url,
  );
  const [first] = found;
  if (first !== undefined && found.length === 1) return first;
  const names_ = names.join(', ');
  throw new StrategyError(
    first === undefined
      ? `executor: ${url} exports no registry of ${names_}; export what defineRepositories(import.meta.url, …) makes there, ` +
          'under any name, so that a worker thread can import it'
      : `executor: ${url} exports ${found.length} registries of ${names_}; export one of them only`,
    { strategy: 'executor', alternatives: ['per-context', 'shared'] },
  );
}

function isRegistry(value: unknown): value is Registry {
  return isPlain(value) && typeof value.url === 'string' && isPlain(value.repositories);
}
