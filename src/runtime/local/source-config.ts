/** In the environment of the source container, as JSON. Holds no secret. */
export const SOURCE_CONFIG_VARIABLE = 'WORLDFLUX_SOURCE_CONFIG';

/** The uid of the source container: ssh refuses to run as a uid without a line in the image's passwd file. */
export const SOURCE_UID = 10001;

/** What the operator tells the container that fetches a git source. */
export interface SourceConfig {
  /** `https://` or `ssh://`, without credentials in it. */
  url: string;
  /** Branch, tag or whole commit. */
  ref: string;
  /** The folder of the repository that becomes the source; `.` is all of it. */
  path: string;
  /** An empty folder that is filled; whatever an earlier try left in it is removed. */
  target: string;
  /** Host names, exact or as `*.example.com`; absent: any host. */
  allowedHosts?: readonly string[];
  /** A mounted Secret: `username` and `password`, or `ssh-privatekey` and `known_hosts`; `ca.crt` for a private CA. */
  credentialsDir?: string;
  /** Default `/dev/termination-log`. */
  terminationLog?: string;
}
