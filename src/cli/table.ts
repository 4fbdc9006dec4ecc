/** Columns as kubectl prints them. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head, ...rows.map((row) => row.map(oneLine))];
  const widths = head.map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)));
  return all
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('   ')
        .trimEnd(),
    )
    .join('\n');
}

/** Words of a vendor or of a user's program: on a terminal they shall not break a line, nor command it. */
export const oneLine = (text: string): string => text.replaceAll(/\p{Cc}+/gu, ' ');

export function age(from: string, now: number = Date.now()): string {
  const seconds = Math.max(0, Math.floor((now - Date.parse(from)) / 1000));
  return Number.isNaN(seconds) ? '' : duration(seconds);
}

/** The two largest units, as kubectl has it: `3d4h`, `12m5s`. */
export function duration(seconds: number): string {
  const units: [string, number][] = [
    ['d', 86_400],
    ['h', 3600],
    ['m', 60],
    ['s', 1],
  ];
  const from = units.findIndex(([, size]) => seconds >= size);
  if (from === -1) return `${Number.isInteger(seconds) ? seconds : seconds.toFixed(1)}s`;
  let left = Math.floor(seconds);
  return units
    .slice(from, from + 2)
    .map(([unit, size]) => {
      const count = Math.floor(left / size);
      left -= count * size;
      return count === 0 ? '' : `${count}${unit}`;
    })
    .join('');
}

export function size(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}
