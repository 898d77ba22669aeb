export { connect } from './store.js';
export { outside } from './verbs.js';
export { version } from './version.js';
export {
  codes, EventsLostError, HandlerTimeoutError, OutcomeUnknownError, RetryAfter, TurnLostError, VersionError, isConnectionError, isLostRace,
} from './errors.js';
