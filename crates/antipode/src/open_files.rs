//! How many files this process may have open. Every connection is one, and so is every pack and every
//! connection to the catalog; a process that runs out of them cannot back up or restore.

use tracing::{info, warn};

/// What is kept for everything that is no connection: catalog, packs, index, disks.
const FILES_BESIDES_CONNECTIONS: u64 = 256;
/// The fewest connections of the API that are served whatever the system allows.
const CONNECTIONS_MIN: u32 = 16;
/// Where the system says what it allows.
const LIMITS: &str = "/proc/self/limits";

/// How many connections the API may have: those of the configuration, or as many as the system leaves beside
/// the peers' and everything else. The log says which.
pub(crate) fn connections_within_limit(api_connections: u32, peer_connections: u32) -> u32 {
    let limits = std::fs::read_to_string(LIMITS).unwrap_or_default();
    let Some(open_max) = open_files_max(&limits) else { return api_connections };
    let connections = connections_within(open_max, api_connections, peer_connections);
    if connections < api_connections {
        warn!(
            open_max,
            "{connections} connections of the API instead of {api_connections}: the system allows {open_max} open files; \
             raise its limit (LimitNOFILE, ulimit -n)"
        );
    } else {
        info!(open_max, "up to {open_max} open files, {connections} connections of the API");
    }
    connections
}

fn connections_within(open_max: u64, api_connections: u32, peer_connections: u32) -> u32 {
    let left = open_max.saturating_sub(FILES_BESIDES_CONNECTIONS + u64::from(peer_connections));
    let connections = u32::try_from(left).unwrap_or(u32::MAX).min(api_connections);
    connections.max(CONNECTIONS_MIN.min(api_connections))
}

/// The soft limit in the text of `/proc/self/limits`; nothing when there is none.
fn open_files_max(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_everything_else() {
        for (open_max, api, peers, expected) in [
            (1 << 20, 1024, 256, 1024),
            (1024, 1024, 256, 512),
            (1024, 100, 256, 100),
            (100, 1024, 256, 16),
            (100, 8, 256, 8),
            (u64::MAX, u32::MAX, u32::MAX, u32::MAX),
        ] {
            assert_eq!(connections_within(open_max, api, peers), expected, "{open_max} {api} {peers}");
        }
    }

    #[test]
    fn the_limit_is_read_where_the_system_states_it() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max processes             96000                96000                processes \n\
                      Max open files            1024                 524288               files     \n";
        assert_eq!(open_files_max(limits), Some(1024));
        assert_eq!(
            open_files_max("Max open files            unlimited            unlimited            files"),
            None
        );
        assert_eq!(open_files_max(""), None);
        assert!(open_files_max(&std::fs::read_to_string(LIMITS).unwrap()).is_some());
    }
}
