//! One parser of the vault, named by `ANTIPODE_FUZZ_TARGET`.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use vault::parsers::{Target, targets};

fn target() -> &'static Target {
    static TARGET: OnceLock<Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        let wanted = std::env::var("ANTIPODE_FUZZ_TARGET").expect("ANTIPODE_FUZZ_TARGET names a parser");
        let found = targets().into_iter().find(|target| target.name == wanted);
        found.unwrap_or_else(|| {
            let names: Vec<&str> = targets().iter().map(|target| target.name).collect();
            panic!("no parser {wanted}; there are {}", names.join(", "))
        })
    })
}

fuzz_target!(|data: &[u8]| (target().run)(data));
