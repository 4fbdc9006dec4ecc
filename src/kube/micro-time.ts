/**
 * `date` as the API server wants a MicroTime: exactly six digits of a second. It answers 400 to the three of
 * `toISOString()`.
 */
export function microTime(date: Date): string {
  return date.toISOString().replace('Z', '000Z');
}
