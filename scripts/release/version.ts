import { VERSION } from '../../src/version.ts';

/** `node version.ts v1.2.3`: prints the version, or fails when the tag is another one's. */
const tag = process.argv[2];
if (tag === `v${VERSION}`) console.log(VERSION);
else {
  console.error(
    `the tag is ${tag}, and this checkout is ${VERSION}: change package.json, src/version.ts and Chart.yaml`,
  );
  process.exitCode = 1;
}
