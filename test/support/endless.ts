/** A registry's module whose import never comes to its end. */
await new Promise(() => undefined);
