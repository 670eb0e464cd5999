import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { AbortError, OptionError, TimeoutError } from '../../src/index.ts';
import {
  abandonWithContext,
  abortError,
  type Ambient,
  currentContext,
  deadlineOf,
  labelOf,
  leftOpen,
  runDetached,
  runInContext,
  runInScope,
  scopeOf,
  timerDelay,
} from '../../src/context/context.ts';
import { Tenant } from '../../src/context/holders.ts';
import { type Scope } from '../../src/context/scope.ts';
import { gate } from '../support/waiting.ts';

/** The context that is around right now, which must be one. */
function around(): Ambient {
  const context = currentContext();
  if (context === undefined) throw new Error('outside every context');
  return context;
}

describe('the options of a context', () => {
  test.for([
    [{ timout: 5 }, /unknown option "timout".*did you mean "timeout"/],
    [{ colour: 'red' }, /unknown option "colour"; use timeout, signal, label/],
    [{ timeout: -1 }, /"timeout" is -1/],
    [{ timeout: Infinity }, /"timeout" is Infinity/],
    [{ timeout: NaN }, /"timeout" is NaN/],
    [{ timeout: '5' }, /"timeout" is "5"/],
    [{ signal: {} }, /"signal" is/],
    [{ label: 5 }, /"label" is 5/],
    [null, /takes an object/],
    [5, /takes an object/],
  ] as const)('are refused by name: %j', ([options, message]) => {
    let ran = false;
    const run = (): void => {
      ran = true;
    };
    expect(() => {
      runInContext(options as never, run);
    }).toThrow(OptionError);
    expect(() => {
      runInContext(options as never, run);
    }).toThrow(message);
    expect(ran).toBe(false);
  });

  test('may all be left out', () => {
    expect(runInContext({}, around)).toMatchObject({ deadline: undefined, signal: undefined, label: undefined });
  });
});

describe('a context', () => {
  test('is around its function, across awaits, and nobody else', async () => {
    const [inside, held] = [gate(), gate()];
    expect(currentContext()).toBeUndefined();
    const run = runInContext({ label: 'a' }, async () => {
      const before = around().label;
      inside.open();
      await held.passed;
      await turn();
      return [before, around().label];
    });
    await inside.passed;
    expect(currentContext()).toBeUndefined();
    held.open();
    expect(await run).toEqual(['a', 'a']);
    expect(currentContext()).toBeUndefined();
  });

  test('gives what its function gives, and throws what it throws', () => {
    expect(runInContext({ label: 'a' }, () => 42)).toBe(42);
    expect(() =>
      runInContext({ label: 'a' }, () => {
        throw new RangeError('mine');
      }),
    ).toThrow(RangeError);
    expect(currentContext()).toBeUndefined();
  });

  test('inside another one has the sooner deadline, whichever is inside', () => {
    const of = (outer: number | undefined, inner: number | undefined): number | undefined => {
      const options = (timeout: number | undefined) => (timeout === undefined ? {} : { timeout });
      return runInContext(options(outer), () => runInContext(options(inner), () => around().deadline));
    };
    const now = performance.now();
    expect(of(undefined, undefined)).toBeUndefined();
    for (const [outer, inner] of [
      [1000, undefined],
      [undefined, 1000],
      [1000, 60_000],
      [60_000, 1000],
    ] as const) {
      const deadline = of(outer, inner) ?? Infinity;
      expect(deadline).toBeGreaterThanOrEqual(now + 1000);
      expect(deadline).toBeLessThan(now + 30_000);
    }
  });

  test('inside another one has either signal, with that one’s reason', () => {
    for (const which of ['outer', 'inner'] as const) {
      const signals = { outer: new AbortController(), inner: new AbortController() };
      const signal = runInContext({ signal: signals.outer.signal }, () =>
        runInContext({ signal: signals.inner.signal }, () => around().signal),
      );
      expect(signal?.aborted).toBe(false);
      signals[which].abort(which);
      expect(signal).toMatchObject({ aborted: true, reason: which });
    }
  });

  test('inside another one has the outer signal where it has none, and is not a copy of it', () => {
    const { signal } = new AbortController();
    expect(runInContext({ signal }, () => runInContext({}, () => around().signal))).toBe(signal);
    expect(runInContext({}, () => runInContext({ signal }, () => around().signal))).toBe(signal);
  });

  test('inside another one has its own label, or the outer one', () => {
    const label = (inner: { label?: string }): string | undefined =>
      runInContext({ label: 'outer' }, () => runInContext(inner, () => around().label));
    expect(label({ label: 'inner' })).toBe('inner');
    expect(label({})).toBe('outer');
    expect(runInContext({ label: 'a' }, () => labelOf(currentContext(), 'accounts.get'))).toBe('accounts.get in a');
    expect(labelOf(undefined, 'accounts.get')).toBe('accounts.get');
  });
});

/** A scope that is only handed around here, and never called. */
function idleScope(label: string): Scope {
  const never = (): Promise<never> => Promise.reject(new Error(`${label} was called`));
  return {
    label,
    tenant: new Tenant(label),
    entered: true,
    enclosing: undefined,
    isWithin: () => false,
    call: never,
    advance: never,
    transaction: never,
    snapshot: never,
    leave: () => undefined,
  };
}

describe('a scope in a context', () => {
  const [one, two] = [{}, {}];
  const [first, second] = [idleScope('first'), idleScope('second')];

  test('is its owner’s alone, and keeps those of others', () => {
    runInScope(one, first, () => {
      runInScope(two, second, () => {
        expect(around().scopes.get(one)).toBe(first);
        expect(around().scopes.get(two)).toBe(second);
        runInScope(one, undefined, () => {
          expect(around().scopes.get(one)).toBeUndefined();
          expect(around().scopes.get(two)).toBe(second);
        });
        expect(around().scopes.get(one)).toBe(first);
      });
      expect(around().scopes.get(two)).toBeUndefined();
    });
    expect(currentContext()).toBeUndefined();
  });

  test('keeps the deadline, the signal and the label around it, and they keep it', () => {
    const { signal } = new AbortController();
    runInContext({ timeout: 1000, signal, label: 'a' }, () => {
      const outer = around();
      runInScope(one, first, () => {
        const { deadline, signal, label } = around();
        expect({ deadline, signal, label }).toEqual({ deadline: outer.deadline, signal: outer.signal, label: 'a' });
        runInContext({ label: 'b' }, () => {
          expect(around().scopes.get(one)).toBe(first);
        });
      });
    });
  });
});

describe('a detached part', () => {
  const owner = {};

  test('is in no scope of its owner, and knows which it was taken out of while that is open', () => {
    const scope = { ...idleScope('transaction'), entered: true };
    runInScope(owner, scope, () => {
      runDetached(owner, () => {
        expect(scopeOf(currentContext(), owner)).toBeUndefined();
        expect(leftOpen(currentContext())).toEqual([scope]);
        scope.entered = false;
        expect(leftOpen(currentContext())).toEqual([]);
      });
    });
    runDetached(owner, () => {
      expect(currentContext()).toBeUndefined();
    });
  });

  test('that begins the next one remembers none that is over', () => {
    const again = (left: number): void => {
      if (left === 0) {
        expect(around().left?.length).toBeLessThanOrEqual(2);
        return;
      }
      const scope = { ...idleScope('transaction'), entered: true };
      runInScope(owner, scope, () => {
        runDetached(owner, () => {
          scope.entered = false;
          again(left - 1);
        });
      });
    };
    again(100);
  });
});

describe('a deadline', () => {
  test('is the context’s, or the given time from now', () => {
    runInContext({ timeout: 0 }, () => {
      expect(deadlineOf(currentContext(), 60_000)).toBe(around().deadline);
    });
    const before = performance.now();
    expect(deadlineOf(undefined, 1000)).toBeGreaterThanOrEqual(before + 1000);
    expect(deadlineOf(undefined, Infinity)).toBe(Infinity);
  });

  test('never overflows a timer, and is never in its past', () => {
    expect(timerDelay(-1)).toBe(0);
    expect(timerDelay(5)).toBe(5);
    expect(timerDelay(2 ** 31)).toBeLessThan(2 ** 31 - 1);
    expect(timerDelay(Infinity)).toBeLessThan(2 ** 31 - 1);
  });
});

describe('giving up with a context', () => {
  const watched = (): { readonly label: string; readonly errors: Error[]; abandon(error: Error): void } => {
    const errors: Error[] = [];
    return { label: 'transaction', errors, abandon: (error) => void errors.push(error) };
  };

  test('never happens without one', () => {
    const scope = watched();
    abandonWithContext(scope, undefined)();
    expect(scope.errors).toEqual([]);
  });

  test('happens at once where the signal is aborted already, and then when it aborts, once', () => {
    const early = watched();
    runInContext({ signal: AbortSignal.abort('early') }, () => abandonWithContext(early, currentContext()));
    expect(early.errors).toEqual([expect.any(AbortError)]);
    expect(early.errors[0]).toMatchObject({ name: 'AbortError', cause: 'early', message: 'transaction: aborted' });

    const controller = new AbortController();
    const scope = watched();
    runInContext({ signal: controller.signal }, () => abandonWithContext(scope, currentContext()));
    expect(scope.errors).toEqual([]);
    controller.abort();
    controller.abort();
    expect(scope.errors).toHaveLength(1);
  });

  test('happens when the deadline passes, and names what was given up', async () => {
    const scope = watched();
    const expired = gate();
    const stop = runInContext({ timeout: 1 }, () =>
      abandonWithContext(
        {
          label: 'transaction',
          abandon: (error) => {
            scope.abandon(error);
            expired.open();
          },
        },
        currentContext(),
      ),
    );
    await expired.passed;
    stop();
    expect(scope.errors).toEqual([expect.any(TimeoutError)]);
    expect(scope.errors[0]).toMatchObject({ wait: 'callback', holder: { label: 'transaction' } });
  });

  test('does not happen after it was stopped, and leaves no timer behind', () => {
    const timers = (): number => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
    const before = timers();
    const controller = new AbortController();
    const scope = watched();
    const stop = runInContext({ signal: controller.signal, timeout: 60_000 }, () =>
      abandonWithContext(scope, currentContext()),
    );
    expect(timers()).toBe(before + 1);
    stop();
    expect(timers()).toBe(before);
    controller.abort();
    expect(scope.errors).toEqual([]);
  });

  test('has an error named as Node’s own, with the reason as its cause', () => {
    const reason = new Error('closed the tab');
    const error = abortError('accounts.get', AbortSignal.abort(reason));
    expect(error).toBeInstanceOf(AbortError);
    expect(error).toMatchObject({ name: 'AbortError', code: 'ABORT_ERR', cause: reason });
  });
});
