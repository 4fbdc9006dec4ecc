import { storeConformance } from './store-conformance.ts';
import { fileStore, s3Store } from './stores.ts';

storeConformance('files', fileStore);
storeConformance('S3', s3Store);
