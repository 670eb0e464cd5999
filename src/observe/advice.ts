import { type MethodTable } from '../repository/methods.ts';

/** What was seen of the handlers that would make them faster, in sentences. */
export function adviceOn(methods: MethodTable): string[] {
  const waiting = [...methods.values()].flatMap((repository) => [...repository.values()]).filter(({ waits }) => waits);
  return waiting.map(
    ({ label }) =>
      `${label} waits for something other than its database, so each call holds the write lane in a transaction of its own: ` +
      'await that before or after the call.',
  );
}
