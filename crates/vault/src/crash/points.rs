//! The names of all crash points of the vault, of control and of the binary, in order.

/// Every `crash_point!` name, once. A test compares this list with the sources, and a run of the
/// simulation is complete only when it has died at each of them.
pub const POINTS: &[&str] = &[
    "manifest.put.after",
    "manifest.put.before",
    "operation.begin.after",
    "operation.pin.after",
    "pack.finish.after",
    "pack.finish.before",
    "pack.index.after",
    "pack.reserve.after",
    "pack.seal.after",
    "store.delete.unlinked",
    "store.finish.durable",
    "store.finish.linked",
    "store.finish.synced",
    "store.finish.written",
];
