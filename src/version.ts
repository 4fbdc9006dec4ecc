/** The release; the same as in package.json and the chart (a test holds them together). */
export const VERSION = '0.1.0';
