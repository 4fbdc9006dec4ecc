import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { StoredArtifact } from '../../crds/world-run-status.ts';

interface Document {
  version: 1;
  /** By artifact: what was stored, and the signature of the files it was made of. */
  stored: Record<string, { signature: string; artifact: StoredArtifact }>;
  posted: boolean;
}

/** What a restarted collector must know, so that nothing is uploaded or posted twice. */
export class CollectorState {
  readonly #path: string;
  readonly #document: Document;

  private constructor(path: string, document: Document) {
    this.#path = path;
    this.#document = document;
  }

  static async open(folder: string): Promise<CollectorState> {
    const path = join(folder, 'state.json');
    try {
      const document = JSON.parse(await readFile(path, 'utf8')) as Document;
      if (document.version === 1) return new CollectorState(path, document);
    } catch {
      // The first start, or a file that was cut off: everything is done again, and the store knows what it has.
    }
    return new CollectorState(path, { version: 1, stored: {}, posted: false });
  }

  get posted(): boolean {
    return this.#document.posted;
  }

  stored(name: string): { signature: string; artifact: StoredArtifact } | undefined {
    return this.#document.stored[name];
  }

  async setStored(name: string, signature: string, artifact: StoredArtifact): Promise<void> {
    this.#document.stored[name] = { signature, artifact };
    await this.#write();
  }

  async setPosted(): Promise<void> {
    this.#document.posted = true;
    await this.#write();
  }

  async #write(): Promise<void> {
    await writeFile(`${this.#path}.tmp`, JSON.stringify(this.#document));
    await rename(`${this.#path}.tmp`, this.#path);
  }
}
