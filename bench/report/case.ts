import { type Summary } from '../measure/summary.ts';
import { type Workspace } from '../sides/workspace.ts';

/** How a case is run. */
export interface Setting {
  readonly workspace: Workspace;
  /** Fewer and shorter rounds: a look, not a measurement. */
  readonly quick: boolean;
}

/** One side's figure in one row. */
export interface Cell {
  /** The median over the rounds, in the table's unit. */
  readonly value: number;
  /** Beside the row's base side, round by round. Absent for the base itself. */
  readonly ratio: Summary | undefined;
}

/** One row of a table, by side. */
export interface Row {
  readonly label: string;
  readonly sides: Readonly<Record<string, Cell>>;
}

/** A readable table of one case. */
export interface Table {
  readonly title: string;
  readonly unit: string;
  readonly rows: readonly Row[];
}

/** What the issue asks for, and what was found. */
export interface Requirement {
  readonly what: string;
  readonly found: Summary;
  readonly sense: 'at most' | 'at least';
  readonly limit: number;
  /** After the number: `×`, ` ms`. */
  readonly unit: string;
  readonly pass: boolean;
}

/** Everything that a case found. */
export interface CaseResult {
  readonly settings: Readonly<Record<string, string | number>>;
  readonly tables: readonly Table[];
  readonly requirements: readonly Requirement[];
}

/** One case of the bench. */
export interface Case {
  readonly name: string;
  readonly about: string;
  run(setting: Setting): Promise<CaseResult>;
}
