/**
 * Tries, before a database file is created, what may be refused of it: the pragmas, the migrations and the factories, on a
 * database in memory. So bad input leaves no file behind.
 *
 * The file is not created first and removed again, because nobody can remove it safely:
 *
 *     this process                        another process
 *     creates the file
 *     a factory throws, the file is
 *     found empty                         opens the file
 *     removes the file
 *                                         creates tables and commits: to a file without a name
 *
 * No lock prevents that. Whoever has the file open by then goes on with it when the lock is given back, and neither POSIX nor
 * SQLite tells it that the name is gone.
 */
import { Connector, type ConnectorSettings } from './connection/connector.ts';
import { migrate } from './migrations/migrate.ts';
import { methodTable } from './repository/methods.ts';

/**
 * Rehearses the opening of a database that does not exist yet. Nothing stays of it.
 *
 * @param timeout in ms
 * @throws what opening it would throw
 */
export async function rehearse(
  settings: Omit<ConnectorSettings, 'file'>,
  migrations: Parameters<typeof migrate>[1],
  timeout: number,
): Promise<void> {
  // The one pragma of these that a database without a file does not answer.
  const pragmas = Object.fromEntries(Object.entries(settings.pragmas).filter(([name]) => name !== 'mmap_size'));
  const { connection } = new Connector({ ...settings, pragmas, file: ':memory:' }).writer('keep');
  try {
    if (migrations.length > 0) await migrate(connection, migrations, timeout);
    methodTable(settings.repositories, connection);
  } finally {
    connection.close();
  }
}
