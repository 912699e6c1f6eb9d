//! What every object store must do, as one suite: an implementation is done when [`check`] passes.

use std::any::Any;

use super::{ListPart, ObjectStore, Put, StoreError};

type Part = (&'static str, fn(&dyn ObjectStore));

/// Runs the suite. `make` gives a fresh, empty store and something to keep alive beside it.
///
/// # Panics
/// At the first rule that the store breaks.
pub fn check(make: impl Fn() -> (Box<dyn ObjectStore>, Box<dyn Any>)) {
    let parts: &[Part] = &[
        ("missing names", missing_names),
        ("bad names", bad_names),
        ("write once", write_once),
        ("streams", streams),
        ("dropped streams", dropped_streams),
        ("limits and extents", limits_and_extents),
        ("lists", lists),
        ("parts of lists", parts_of_lists),
        ("deletes", deletes),
        ("one winner", one_winner),
    ];
    for (name, part) in parts {
        let (store, _keep) = make();
        let scope = std::panic::AssertUnwindSafe(|| part(store.as_ref()));
        if let Err(cause) = std::panic::catch_unwind(scope) {
            eprintln!("the conformance part {name:?} failed");
            std::panic::resume_unwind(cause);
        }
    }
}

fn require<T>(result: Result<T, StoreError>, doing: &str) -> T {
    result.unwrap_or_else(|error| panic!("{doing}: {error:?}"))
}

fn missing_names(store: &dyn ObjectStore) {
    assert!(matches!(store.get("a", 10), Err(StoreError::NotFound { .. })));
    assert!(matches!(store.get("a/b/c", 10), Err(StoreError::NotFound { .. })));
    assert!(matches!(store.get_range("a", 0, 1), Err(StoreError::NotFound { .. })));
    assert!(matches!(store.size("a"), Err(StoreError::NotFound { .. })));
    assert_eq!(require(store.list("a/"), "list an empty store"), Vec::<String>::new());
    require(store.put_if_absent("folder/a", b"x"), "put");
    assert!(matches!(store.size("folder"), Err(StoreError::NotFound { .. })), "a folder is no object");
    assert!(
        matches!(store.get("folder/a/b", 1), Err(StoreError::NotFound { .. })),
        "below an object is nothing"
    );
}

fn bad_names(store: &dyn ObjectStore) {
    for name in ["", "/etc/passwd", "../a", "a/../b", ".a", "A", "a//b", "a/"] {
        assert!(matches!(store.put_if_absent(name, b""), Err(StoreError::BadName { .. })), "{name:?}");
        assert!(matches!(store.begin(name), Err(StoreError::BadName { .. })), "{name:?}");
        assert!(matches!(store.get(name, 1), Err(StoreError::BadName { .. })), "{name:?}");
        assert!(matches!(store.get_range(name, 0, 1), Err(StoreError::BadName { .. })), "{name:?}");
        assert!(matches!(store.size(name), Err(StoreError::BadName { .. })), "{name:?}");
        assert!(matches!(store.delete(name), Err(StoreError::BadName { .. })), "{name:?}");
    }
}

fn write_once(store: &dyn ObjectStore) {
    assert_eq!(require(store.put_if_absent("a/b", b"first"), "put"), Put::Created);
    assert_eq!(require(store.put_if_absent("a/b", b"first"), "put again"), Put::Exists);
    assert_eq!(require(store.put_if_absent("a/b", b"other"), "put another"), Put::Exists);
    assert_eq!(require(store.get("a/b", 100), "get"), b"first");
    assert_eq!(require(store.size("a/b"), "size"), 5);
    assert_eq!(require(store.put_if_absent("empty", b""), "put nothing"), Put::Created);
    assert_eq!(require(store.get("empty", 0), "get nothing"), b"");
}

fn streams(store: &dyn ObjectStore) {
    let mut writer = require(store.begin("big"), "begin");
    let mut whole = Vec::new();
    for piece in 0..300u32 {
        let bytes = piece.to_le_bytes().repeat(1000);
        require(writer.append(&bytes), "append");
        whole.extend_from_slice(&bytes);
    }
    assert!(matches!(store.size("big"), Err(StoreError::NotFound { .. })), "visible before it is whole");
    assert_eq!(require(store.list("b"), "list"), Vec::<String>::new());
    assert_eq!(require(writer.finish(), "finish"), Put::Created);
    assert_eq!(require(store.get("big", 1 << 21), "get"), whole);
    let mut writer = require(store.begin("big"), "begin a bound name");
    require(writer.append(b"other"), "append");
    assert_eq!(require(writer.finish(), "finish"), Put::Exists);
    assert_eq!(require(store.size("big"), "size"), 1_200_000);
}

fn dropped_streams(store: &dyn ObjectStore) {
    let mut writer = require(store.begin("a"), "begin");
    require(writer.append(b"lost"), "append");
    drop(writer);
    assert!(matches!(store.get("a", 10), Err(StoreError::NotFound { .. })));
    assert_eq!(require(store.list(""), "list"), Vec::<String>::new());
    assert_eq!(require(store.put_if_absent("a", b"kept"), "put"), Put::Created);
}

fn limits_and_extents(store: &dyn ObjectStore) {
    require(store.put_if_absent("a", b"0123456789"), "put");
    assert!(matches!(store.get("a", 9), Err(StoreError::TooLong { .. })));
    assert_eq!(require(store.get("a", 10), "get"), b"0123456789");
    assert_eq!(require(store.get_range("a", 3, 4), "get range"), b"3456");
    assert_eq!(require(store.get_range("a", 10, 0), "get nothing"), b"");
    assert!(matches!(store.get_range("a", 7, 4), Err(StoreError::TooShort { .. })));
    assert!(matches!(store.get_range("a", u64::MAX, 2), Err(StoreError::TooShort { .. })));
    assert!(matches!(store.get_range("a", 0, u64::MAX), Err(StoreError::TooShort { .. })));
}

fn lists(store: &dyn ObjectStore) {
    for name in ["b/2", "a", "b/10", "b/sub/x", "bc", "c/1"] {
        require(store.put_if_absent(name, name.as_bytes()), "put");
    }
    let list = |prefix| require(store.list(prefix), "list");
    assert_eq!(list(""), ["a", "b/10", "b/2", "b/sub/x", "bc", "c/1"]);
    assert_eq!(list("b"), ["b/10", "b/2", "b/sub/x", "bc"]);
    assert_eq!(list("b/"), ["b/10", "b/2", "b/sub/x"]);
    assert_eq!(list("b/1"), ["b/10"]);
    assert_eq!(list("b/sub/x"), ["b/sub/x"]);
    assert_eq!(list("d/"), Vec::<String>::new());
}

fn parts_of_lists(store: &dyn ObjectStore) {
    for name in ["a", "b/10", "b/2", "b/sub/x", "b/sub/y", "b-c", "bc", "c/1"] {
        require(store.put_if_absent(name, name.as_bytes()), "put");
    }
    let list = |prefix, after, count_max| {
        require(store.list_part(&ListPart { prefix, after, count_max }), "list a part")
    };
    assert_eq!(list("", "", 100), ["a", "b-c", "b/10", "b/2", "b/sub/x", "b/sub/y", "bc", "c/1"]);
    assert_eq!(list("", "", 3), ["a", "b-c", "b/10"]);
    assert_eq!(list("", "b/2", 2), ["b/sub/x", "b/sub/y"]);
    assert_eq!(list("", "b/~", 1), ["bc"], "a place need not be a name");
    assert_eq!(list("b/", "b/10", 100), ["b/2", "b/sub/x", "b/sub/y"]);
    assert_eq!(list("b/", "b/sub/x", 100), ["b/sub/y"]);
    assert_eq!(list("b/", "a", 1), ["b/10"]);
    assert_eq!(list("b/", "bc", 100), Vec::<String>::new());
    assert_eq!(list("b/sub/", "", 1), ["b/sub/x"]);
    assert_eq!(list("b", "", 0), Vec::<String>::new());
}

fn deletes(store: &dyn ObjectStore) {
    require(store.put_if_absent("a/b", b"x"), "put");
    require(store.delete("a/b"), "delete");
    assert!(matches!(store.get("a/b", 1), Err(StoreError::NotFound { .. })));
    assert_eq!(require(store.list(""), "list"), Vec::<String>::new());
    require(store.delete("a/b"), "delete again");
    require(store.delete("never/was"), "delete what never was");
}

fn one_winner(store: &dyn ObjectStore) {
    let put = |byte: u8| require(store.put_if_absent("raced", &[byte; 4096]), "put");
    let puts: Vec<Put> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..8).map(|byte| scope.spawn(move || put(byte))).collect();
        racers.into_iter().map(|racer| racer.join().expect("no racer panics")).collect()
    });
    assert_eq!(puts.iter().filter(|&&put| put == Put::Created).count(), 1);
    let bytes = require(store.get("raced", 4096), "get");
    let winner = puts.iter().position(|&put| put == Put::Created).map(|index| index as u8);
    assert_eq!(Some(bytes[0]), winner);
    assert!(bytes.iter().all(|&byte| byte == bytes[0]));
}
