//! The canonical bodies as examples of the OpenAPI document. `golden.rs` proves that the wire structs make
//! exactly these.

use serde_json::Value;

const POLICY: &str = include_str!("golden/policy.json");
const ITEM: &str = include_str!("golden/checkpoint_item.json");
const PROTECT: &str = include_str!("golden/protect.json");
const REPLICATION: &str = include_str!("golden/replication.json");

fn example(text: &str) -> Value {
    serde_json::from_str(text).expect("the golden bodies are JSON, as their test knows")
}

pub(super) fn policy() -> Value {
    example(POLICY)
}

pub(super) fn item() -> Value {
    example(ITEM)
}

pub(super) fn protect() -> Value {
    example(PROTECT)
}

pub(super) fn replication() -> Value {
    example(REPLICATION)
}
