//! The parsers of the peer link and of schedules over their seeds and seeded mutations of them.
//!
//! `ANTIPODE_FUZZ_EXECUTIONS` makes it a long run (`make fuzz-long`); the vault's own parsers are run by
//! its own test of this name.
#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

use antipode::peer::wire::{
    Route, decode_refusal, decode_reply, decode_request, encode_refusal, encode_reply, encode_request,
};
use control::peers::messages::{
    HeadRequest, OpenRequest, Opened, PairRequest, PeerReply, PeerRequest, Refusal, TransferKey,
};
use model::grant::{Grant, Mode};
use model::ids::{CheckpointId, CheckpointItemId, GrantId, OperationId, ReplicationRecordId};
use model::schedule::Pattern;
use model::time::Timestamp;
use vault::ids::{Address, Incarnation, Kind, ManifestDigest};
use vault::parsers::{Target, exercise};
use vault::transfer::{Acknowledged, Asked};

const EXECUTIONS: u64 = 5_000;

const TARGETS: [Target; 4] = [
    Target { name: "peer-request", run: request, seeds: requests },
    Target { name: "peer-reply", run: reply, seeds: replies },
    Target { name: "peer-refusal", run: refusal, seeds: refusals },
    Target { name: "schedule", run: schedule, seeds: schedules },
];

/// The first byte says the route.
fn routed(bytes: &[u8]) -> Option<(Route, &[u8])> {
    let (&first, body) = bytes.split_first()?;
    Some((Route::ALL[usize::from(first) % Route::ALL.len()], body))
}

fn with_route(route: Route, body: &[u8]) -> Vec<u8> {
    let number = Route::ALL.iter().position(|other| *other == route).unwrap();
    [&[number as u8][..], body].concat()
}

fn request(bytes: &[u8]) {
    let Some((route, body)) = routed(bytes) else { return };
    if let Ok(request) = decode_request(route, body) {
        assert_eq!(Route::of_request(&request), route);
        assert_eq!(encode_request(&request), body);
    }
}

fn asked() -> Vec<Asked> {
    vec![Asked { kind: Kind::Node, level: 2, address: Address([1; 32]) }]
}

fn requests() -> Vec<Vec<u8>> {
    let transfer = TransferKey { operation_id: OperationId::from_bytes([1; 16]), attempt: 2 };
    let open = OpenRequest {
        record_id: ReplicationRecordId::from_bytes([1; 16]),
        attempt: 1,
        generation: 2,
        grant_id: GrantId::from_bytes([2; 16]),
        source_project_id: "ours".parse().unwrap(),
        destination_project_id: "theirs".parse().unwrap(),
        source_checkpoint_id: CheckpointId::from_bytes([3; 16]),
        source_item_id: CheckpointItemId::from_bytes([4; 16]),
        manifest: vec![5; 40],
        bases: vec![ManifestDigest([6; 32])],
        wraps: vec![vec![7; 9]],
        card: vec![8; 12],
        replica_name: Some("a name".to_owned()),
        replica_description: None,
        by_scheduler: true,
        keep_days: Some(30),
    };
    let pair = PairRequest {
        secret: [1; 32],
        name: "north".parse().unwrap(),
        url: "https://127.0.0.1:1".to_owned(),
        card: vec![2; 20],
    };
    let head = HeadRequest { seen_incarnation: Some(Incarnation([3; 16])), seen_counter: 4 };
    let all = [
        PeerRequest::Pair(pair),
        PeerRequest::Grants,
        PeerRequest::Head(head),
        PeerRequest::Open(Box::new(open)),
        PeerRequest::Want { transfer, asked: asked() },
        PeerRequest::Send { transfer, batch: vec![9; 20] },
        PeerRequest::Verify { transfer },
        PeerRequest::Publish { transfer },
    ];
    all.iter().map(|request| with_route(Route::of_request(request), &encode_request(request))).collect()
}

fn reply(bytes: &[u8]) {
    let Some((route, body)) = routed(bytes) else { return };
    if let Ok(reply) = decode_reply(route, body) {
        assert_eq!(Route::of_reply(&reply), route);
        assert_eq!(encode_reply(&reply), body);
    }
}

fn replies() -> Vec<Vec<u8>> {
    let grant = Grant {
        id: GrantId::from_bytes([1; 16]),
        source_region: "north".parse().unwrap(),
        source_project_id: "ours".parse().unwrap(),
        destination_region: "south".parse().unwrap(),
        destination_project_id: "theirs".parse().unwrap(),
        mode: Mode::Sealed,
        bytes_max: Some(1 << 40),
        keep_days_min: 30,
        created_at: Timestamp::from_micros(5),
        expires_at: Some(Timestamp::from_micros(6)),
        revoked_at: None,
    };
    let operation_id = OperationId::from_bytes([2; 16]);
    let all = [
        PeerReply::Paired { card: vec![1; 9] },
        PeerReply::Grants(vec![grant]),
        PeerReply::Head { head: vec![2; 9], entries: vec![3; 9] },
        PeerReply::Opened(Opened::Resume { operation_id, base: Some(ManifestDigest([4; 32])) }),
        PeerReply::Opened(Opened::Complete { receipt: vec![5; 9] }),
        PeerReply::Wanted(vec![true, false]),
        PeerReply::Acknowledged(Acknowledged::default()),
        PeerReply::Verified(asked()),
        PeerReply::Published { receipt: vec![6; 9], kept_bytes: 7 },
    ];
    all.iter().map(|reply| with_route(Route::of_reply(reply), &encode_reply(reply))).collect()
}

fn refusal(bytes: &[u8]) {
    if let Ok((refusal, why)) = decode_refusal(bytes) {
        assert_eq!(encode_refusal(refusal, &why), bytes);
    }
}

fn refusals() -> Vec<Vec<u8>> {
    vec![encode_refusal(Refusal::NoGrant, "no grant"), encode_refusal(Refusal::Gone, "")]
}

/// What is accepted also answers, at any time, with a moment that lies where it should.
fn schedule(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(pattern) = Pattern::parse(text) else { return };
    assert_eq!(pattern.as_str(), text);
    for micros in [i64::MIN, 0, 1_700_000_000_000_000, i64::MAX] {
        let (start, now) = (Timestamp::from_micros(0), Timestamp::from_micros(micros));
        if let Some(next) = pattern.next_after(start, now) {
            assert!(next > now && next >= start, "{text:?} after {micros}");
        }
        if let Some(missed) = pattern.missed(start, start, now) {
            assert!(missed > start && missed <= now, "{text:?} until {micros}");
        }
    }
}

fn schedules() -> Vec<Vec<u8>> {
    let event =
        |rules: &str| format!("BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n{rules}\r\nEND:VEVENT\r\nEND:VCALENDAR");
    [
        "RRULE:FREQ=DAILY;INTERVAL=2;BYHOUR=1,13;BYMINUTE=30",
        "RRULE:FREQ=WEEKLY;BYDAY=MO,SU;BYHOUR=14;BYMINUTE=0",
        "SUMMARY:nightly\r\nRRULE:FREQ=DAILY;BYHOUR=2\r\n ;BYMINUTE=1\r\nRRULE:FREQ=WEEKLY;BYDAY=TU;BYHOUR=9;BYMINUTE=9",
    ]
    .map(|rules| event(rules).into_bytes())
    .into()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a long run says how long it took")]
fn no_parser_fails_on_any_input() {
    let number = std::env::var("ANTIPODE_FUZZ_EXECUTIONS").ok();
    let executions = number.as_ref().map_or(EXECUTIONS, |text| text.parse().unwrap());
    for target in TARGETS {
        let begun = std::time::Instant::now();
        let exercised = exercise(&target, &(target.seeds)(), executions, 1);
        if number.is_some() {
            let (name, seconds) = (target.name, begun.elapsed().as_secs_f64());
            println!("{name:<16}{:>12} executions{:>4} crashes{seconds:>9.1} s", exercised.executions, 0);
        }
    }
}

#[test]
fn the_seeds_are_accepted() {
    let routed = |bytes: &Vec<u8>| (Route::ALL[usize::from(bytes[0])], bytes[1..].to_vec());
    for (route, body) in requests().iter().map(routed) {
        decode_request(route, &body).unwrap();
    }
    for (route, body) in replies().iter().map(routed) {
        decode_reply(route, &body).unwrap();
    }
    refusals().iter().for_each(|bytes| assert!(decode_refusal(bytes).is_ok()));
    for text in schedules() {
        Pattern::parse(std::str::from_utf8(&text).unwrap()).unwrap();
    }
}
