//! Open files: each connection is one, and a process begins with room for few.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Sockets that listen, the store, the log, connections to DNS servers and Redis.
const OTHERS: u64 = 256;

/// Takes as many open files as the system lets this process have, and warns where those are too few for the connections of one
/// protocol: those it cannot have wait until others end, as they do beyond the allowed number.
pub(super) fn allow(milter: u32, policy: u32) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // No limit at all is `None`.
    let Some(now) = current else { return };
    let raised = maximum.is_none_or(|maximum| maximum > now)
        && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok();
    let allowed = if raised { maximum } else { Some(now) };
    let wanted = u64::from(milter.max(policy)) + OTHERS;
    if let Some(allowed) = allowed.filter(|allowed| *allowed < wanted) {
        warn!(
            allowed,
            wanted,
            "fewer open files are allowed than connections are: raise LimitNOFILE, or lower max_milter_connections and \
             max_policy_connections"
        );
    }
}
