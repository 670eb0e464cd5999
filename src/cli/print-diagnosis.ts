import { styleText } from 'node:util';
import { type Diagnosis } from './doctor.ts';

/** Writes a diagnosis for people: coloured and wrapped on a terminal, plain and one line an item when piped. */
export function printDiagnosis(diagnosis: Diagnosis, output: NodeJS.WriteStream): void {
  const { decision, header, journalPlan } = diagnosis;
  const isForecast = journalPlan === 'wal' && header.journalMode !== 'wal';
  const style = (format: Parameters<typeof styleText>[0], text: string) => styleText(format, text, { stream: output });
  const width = output.isTTY ? Math.min(Math.max(output.columns, 40), 110) : Infinity;
  const section = (title: string, items: readonly string[]) => [
    '',
    title,
    ...(items.length > 0 ? items : ['none']).flatMap((item) => wrap(`  - ${item}`, width, 4)),
  ];

  const lines = [
    style('bold', diagnosis.file === '' ? 'a temporary database' : diagnosis.file),
    ...figures(diagnosis).flatMap(([name, value]) => wrap(`  ${name.padEnd(11)}${value}`, width, 13)),
    '',
    `strategy: ${style(['bold', 'green'], decision.strategy)}${isForecast ? ', if SQLite grants WAL when it opens the file' : ''}`,
    ...section('because', decision.reasons),
    ...section(
      'rejected',
      decision.rejected.map(({ strategy, because }) => `${strategy}: ${because}`),
    ),
    ...section(decision.hazards.length > 0 ? style('yellow', 'hazards') : 'hazards', decision.hazards),
  ];
  output.write(`${lines.join('\n')}\n`);
}

function figures(diagnosis: Diagnosis): [name: string, value: string][] {
  const { header, beside, decision } = diagnosis;
  const { facts } = decision;
  const { storage } = facts;
  const mounted = storage.mountPoint === undefined ? '' : ` mounted at ${storage.mountPoint}`;
  const isFile = storage.kind !== 'memory' && storage.kind !== 'temporary';
  const found: [string, string][] = [];
  if (isFile) {
    if (facts.realPath !== facts.file) found.push(['real path', facts.realPath]);
    found.push(
      ['file', facts.exists ? describeFile(diagnosis) : 'does not exist yet; open() would create it'],
      ['writable', `file: ${yesOrNo(facts.writable.file)}, directory: ${yesOrNo(facts.writable.directory)}`],
    );
  }
  if (beside.length > 0) {
    found.push(['beside it', beside.map(({ name, size }) => `${name} (${count(size, 'byte')})`).join(', ')]);
  }
  found.push(
    [
      'storage',
      isFile
        ? `${storage.kind}: ${storage.fileSystem}${mounted} (says the ${storage.source.replace('-', ' ')})`
        : storage.kind,
    ],
    ['SQLite', header.sqliteVersion],
    ['journal', describeJournal(diagnosis)],
  );
  return found;
}

function describeFile({ header, decision }: Diagnosis): string {
  const { size, hardLinks } = decision.facts;
  const pages =
    header.pageSize === 0 ? 'empty' : `${count(header.pageCount, 'page')} of ${count(header.pageSize, 'byte')}`;
  return `${count(size, 'byte')}, ${pages}, ${count(hardLinks, 'name')}`;
}

function describeJournal({ header, journalPlan }: Diagnosis): string {
  const isWal = header.journalMode === 'wal';
  switch (journalPlan) {
    case 'wal':
      return isWal ? 'WAL is on' : 'WAL is off; open() would turn it on';
    case 'delete':
      return isWal ? 'WAL is on; open() would turn it off' : 'rollback journal; open() would leave WAL off';
    case 'keep':
      if (header.journalMode === 'memory') return 'in memory';
      return `${isWal ? 'WAL is on' : 'rollback journal'}; open() would leave it as it is`;
  }
}

function count(amount: number, unit: string): string {
  return `${amount.toLocaleString('en').replaceAll(',', ' ')} ${unit}${amount === 1 ? '' : 's'}`;
}

function yesOrNo(value: boolean): string {
  return value ? 'yes' : 'no';
}

/** Breaks a line at spaces so that it fits `width`, the further lines indented. A longer word stays whole. */
function wrap(line: string, width: number, indent: number): string[] {
  if (line.length <= width) return [line];
  const at = line.lastIndexOf(' ', width);
  if (at <= indent) return [line];
  return [line.slice(0, at), ...wrap(' '.repeat(indent) + line.slice(at + 1), width, indent)];
}
