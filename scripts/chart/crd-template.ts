import { stringify } from 'yaml';

/**
 * A CRD as a template of the chart, where `helm upgrade` upgrades it (what lies in a chart's `crds/` it never touches),
 * and where it can be left out or left behind.
 */
export function crdTemplate(crd: object): string {
  const text = stringify(crd, { lineWidth: 0, aliasDuplicateObjects: false });
  // Nothing in a schema may be taken for an action of the template language.
  if (text.includes('{{')) throw new Error('a CRD holds "{{", which helm would evaluate');
  const [head, body] = split(text, /^metadata:\n {2}name: .*\n/m);
  return [
    '{{- if .Values.crds.enabled }}\n',
    head,
    '  labels:\n    {{- include "worldflux-operator.labels" . | nindent 4 }}\n',
    '  {{- if .Values.crds.keep }}\n  annotations:\n    helm.sh/resource-policy: keep\n  {{- end }}\n',
    body,
    '{{- end }}\n',
  ].join('');
}

/** The text up to and with the first match, and what follows. */
function split(text: string, at: RegExp): [string, string] {
  const found = at.exec(text);
  if (found === null) throw new Error(`${at} is not in the text`);
  const end = found.index + found[0].length;
  return [text.slice(0, end), text.slice(end)];
}
