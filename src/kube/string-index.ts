/** From a string to the keys filed under it. Most strings have one key, so a lone key is kept without a set. */
export class StringIndex {
  readonly #keys = new Map<string, string | Set<string>>();

  add(value: string, key: string): void {
    const present = this.#keys.get(value);
    if (present === undefined) this.#keys.set(value, key);
    else if (typeof present !== 'string') present.add(key);
    else if (present !== key) this.#keys.set(value, new Set([present, key]));
  }

  remove(value: string, key: string): void {
    const present = this.#keys.get(value);
    if (present === key) this.#keys.delete(value);
    else if (present instanceof Set && present.delete(key) && present.size === 0) this.#keys.delete(value);
  }

  get(value: string): Iterable<string> {
    const present = this.#keys.get(value);
    return present === undefined ? [] : typeof present === 'string' ? [present] : present;
  }

  count(value: string): number {
    const present = this.#keys.get(value);
    return present === undefined ? 0 : typeof present === 'string' ? 1 : present.size;
  }
}
