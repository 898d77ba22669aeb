// Which versions of the extension this client works with: its own, the one
// before and the one after, counted in minor versions of the same major one.

import { readFileSync } from 'node:fs';
import { VersionError } from './errors.js';

export const version = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')).version;

export function checkVersion(extension) {
  if (extension === null) {
    throw new VersionError('the extension actorstore is not installed in this database (CREATE EXTENSION actorstore)');
  }
  const [major, minor] = parts(version);
  const [theirMajor, theirMinor] = parts(extension);

  if (theirMajor === major && Math.abs(theirMinor - minor) <= 1) return;
  const newer = theirMajor > major || (theirMajor === major && theirMinor > minor);
  throw new VersionError(`this client, ${version}, works with actorstore ${major}.${Math.max(0, minor - 1)} to ${major}.${minor + 1}, `
    + `and the database has ${extension}: ${newer ? 'install a newer client' : 'ALTER EXTENSION actorstore UPDATE, or install an older client'}`);
}

function parts(text) {
  return text.split('.').slice(0, 2).map((part) => Number.parseInt(part, 10) || 0);
}
