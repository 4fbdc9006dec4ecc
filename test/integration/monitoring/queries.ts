import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parser } from '@prometheus-io/lezer-promql';
import { parse } from 'yaml';
import { CHARTS } from '../../../scripts/chart/install.ts';

const MONITORING = join(CHARTS, 'worldflux-operator', 'monitoring');
export const RULES = join(MONITORING, 'rules.yaml');

export interface Alert {
  alert: string;
  expr: string;
  annotations: Record<string, string>;
}

export async function readAlerts(): Promise<Alert[]> {
  const { groups } = parse(await readFile(RULES, 'utf8')) as { groups: { rules: Alert[] }[] };
  return groups.flatMap(({ rules }) => rules);
}

interface Dashboard {
  panels: { title: string; targets?: { expr: string; legendFormat: string }[] }[];
}

/** The dashboard's queries, each by the title of its panel. */
export async function readPanels(): Promise<{ title: string; expr: string; legend: string }[]> {
  const { panels } = JSON.parse(await readFile(join(MONITORING, 'dashboard.json'), 'utf8')) as Dashboard;
  return panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr, legendFormat }) => ({ title, expr, legend: legendFormat })),
  );
}

export interface Asked {
  metrics: string[];
  /** Where the query does not parse. */
  faults: string[];
}

/** What a query asks Prometheus for. */
export function asked(expr: string): Asked {
  // Grafana fills its variables in before the query is one.
  const query = expr.replaceAll(/\$__(rate_interval|interval|range)/g, '5m');
  const metrics: string[] = [];
  const faults: string[] = [];
  parser.parse(query).iterate({
    enter: ({ name, type, from, to, node }) => {
      if (type.isError) faults.push(query.slice(Math.max(0, from - 10), to + 10));
      if (name === 'Identifier' && node.parent?.name === 'VectorSelector') metrics.push(query.slice(from, to));
    },
  });
  return { metrics, faults };
}
