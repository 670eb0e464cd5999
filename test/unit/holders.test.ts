import { describe, expect, test } from 'vitest';
import { type Tenancy, Tenant, waitInside } from '../../src/context/holders.ts';
import { DeadlockError } from '../../src/index.ts';

function lane(name: string, ...tenants: (Tenant | undefined)[]): Tenancy {
  return { name, tenants };
}

describe('a wait', () => {
  const [s1, s2, t, other] = ['s1', 's2', 't', 'other'].map((label) => new Tenant(label)) as [
    Tenant,
    Tenant,
    Tenant,
    Tenant,
  ];
  const readers = lane('readers', s1, s2);
  const b = lane('b', t);
  s1.waitFor(b);
  t.waitFor(readers);

  test('is no deadlock while one of several holders is free', () => {
    waitInside([other], b, 'bystander')();
  });

  test('of the last free holder closes the circle', () => {
    const error = (() => {
      try {
        waitInside([s2], b, 'last');
      } catch (caught) {
        return caught;
      }
      return undefined;
    })();
    expect(error).toBeInstanceOf(DeadlockError);
    expect((error as DeadlockError).cycle).toEqual([
      's2 waits for b',
      'which t holds and waits for readers',
      'which s2 holds',
    ]);
  });

  test('for a lane whose holder is no tenant, or that is free, is none', () => {
    waitInside([other], lane('batch', undefined), 'call')();
    waitInside([other], lane('free'), 'call')();
  });

  test('is judged in no time among forty lanes', () => {
    const lanes: { name: string; tenants: Tenant[] }[] = Array.from({ length: 40 }, (_, at) => ({
      name: `lane ${at}`,
      tenants: [new Tenant(`a${at}`), new Tenant(`b${at}`)],
    }));
    for (const [at, { tenants }] of lanes.entries()) {
      for (const [step, tenant] of tenants.entries()) {
        const next = lanes[at + 1 + step];
        if (next !== undefined) tenant.waitFor(next);
      }
    }
    const [first] = lanes;
    const started = performance.now();
    if (first !== undefined) waitInside([other], first, 'call')();
    expect(performance.now() - started).toBeLessThan(50);
  });
});
