import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { VERSION } from '../../src/version.ts';
import { crdTemplate } from './crd-template.ts';
import { CHARTS } from './install.ts';

const crd = (description: string) => ({
  apiVersion: 'v1',
  kind: 'CustomResourceDefinition',
  metadata: { name: 'things.example' },
  spec: { description },
});

test('a CRD becomes a template that adds metadata and keeps the rest', () => {
  const text = crdTemplate(crd('all of it'));
  expect(text).toMatch(/^\{\{- if \.Values\.crds\.enabled \}\}\napiVersion/);
  const plain = text.replaceAll(/^ *\{\{.*\}\}\n/gm, '');
  expect(parse(plain)).toEqual({
    ...crd('all of it'),
    metadata: { name: 'things.example', labels: null, annotations: { 'helm.sh/resource-policy': 'keep' } },
  });
});

test('a schema that helm would evaluate is refused', () => {
  expect(() => crdTemplate(crd('write {{ .Values }}'))).toThrow('{{');
});

test.each(['worldflux-operator', 'worldflux-profiles'])(
  'chart %s, the package and the program have one version',
  (name) => {
    const chart = parse(readFileSync(join(CHARTS, name, 'Chart.yaml'), 'utf8')) as {
      version: string;
      appVersion: string;
    };
    const { version } = JSON.parse(readFileSync(join(CHARTS, '..', 'package.json'), 'utf8')) as { version: string };
    expect([chart.version, chart.appVersion, version]).toEqual([VERSION, VERSION, VERSION]);
  },
);
