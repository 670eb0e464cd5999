/** Sluice: a typed repository layer for SQLite. */
import './runtime.ts';

export { connect, type ConnectedDatabase } from './connect.ts';
export { open } from './open.ts';
export {
  type AsyncRepositoryDefinition,
  defineAsyncRepository,
  defineRepositories,
  defineRepository,
  type RepositoryDefinition,
} from './repository/define.ts';
export {
  type AsyncReadDatabase,
  type AsyncReadTools,
  type AsyncRepository,
  type AsyncWriteDatabase,
  type AsyncWriteTools,
} from './repository/async-types.ts';
export { type CloseOptions, type CloseReport, type Database } from './database.ts';
export { type ContextOptions } from './context/context.ts';
export { type DatabaseStats } from './database.ts';
export { type Distribution } from './observe/histogram.ts';
export { type WriteStats } from './observe/lane-stats.ts';
export { type ReaderStats } from './observe/reader-stats.ts';
export { type StreamStats } from './observe/stream-stats.ts';
export { type WalStats } from './observe/wal-stats.ts';
export { type CheckpointReport } from './maintenance/checkpoint.ts';
export { type OpenOptions } from './options.ts';
export { type Decision, type Rejection } from './connection/decide.ts';
export { type Facts, type PathFacts, type StrategyName } from './connection/facts.ts';
export { type StorageFacts, type StorageKind } from './connection/storage.ts';
export { type Durability, type PragmaOptions } from './connection/durability.ts';
export { type Direction, type Filter, type Operators, type OrderBy } from './repository/filter.ts';
export { type SluiceTypeError } from './repository/handler-checks.ts';
export {
  type ApiStream,
  type ApiStreamOptions,
  type FindOptions,
  type Key,
  type NewRow,
  type Page,
  type PageOptions,
  type Patch,
  type Row,
  type StreamOptions,
  type UpsertOptions,
} from './repository/table-types.ts';
export {
  type AnyRepository,
  type Api,
  type BlockingApi,
  type CallSignal,
  type ErrorClass,
  type Handlers,
  type NoHandlers,
  type ReadApi,
  type ReadDatabase,
  type ReadTools,
  type Registry,
  type Repositories,
  type Repository,
  type RepositoryApi,
  type RunResult,
  type WriteDatabase,
  type WriteTools,
} from './repository/types.ts';
export {
  AbortError,
  BusyError,
  type BusyKind,
  ClosedError,
  ConstraintError,
  type ConstraintKind,
  ContextError,
  CorruptError,
  DeadlockError,
  ExecutorError,
  HandlerError,
  type Holder,
  InternalError,
  MigrationError,
  OptionError,
  type Outcome,
  QueueFullError,
  ReadOnlyError,
  SluiceError,
  StaleRowError,
  StorageError,
  StrategyError,
  TimeoutError,
  TransactionEndedError,
  UnknownMethodError,
} from './errors.ts';
