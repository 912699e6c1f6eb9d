//! Every code is reached, and by the facts that its sentence speaks of.

use std::collections::BTreeSet;

use super::*;
use crate::evidence::{EVIDENCE_SECONDS_MAX, Witness};

const NOW: i64 = 100_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(0).plus_seconds(seconds)
}

fn item() -> ItemFacts {
    ItemFacts {
        state: ItemState::Available,
        is_replica: false,
        policy_id: Some(PolicyId::from_entropy([1; 16])),
        is_blocked: false,
    }
}

fn destination() -> DestinationFacts {
    DestinationFacts {
        region: "b".parse().unwrap(),
        project_id: Some("q".parse().unwrap()),
        is_paired: true,
        has_grant: true,
        schedule: Schedule::On,
        record: None,
        head: None,
    }
}

fn record(state: RecordState, reason_code: &str) -> DestinationFacts {
    let record = RecordFacts {
        id: ReplicationRecordId::from_entropy([2; 16]),
        state,
        reason_code: reason_code.to_owned(),
        reason: String::new(),
        try_at: at(0),
        planned_bytes: 0,
        sent_bytes: 0,
        receipt: None,
        level: None,
        replica_id: None,
        gone_at: None,
        updated_at: at(0),
    };
    DestinationFacts { record: Some(record), ..destination() }
}

/// A replica with a receipt of so many seconds ago.
fn replica(receipt_age: i64) -> DestinationFacts {
    let mut facts = record(RecordState::Done, "");
    let known = facts.record.as_mut().unwrap();
    known.receipt = Some(ReceiptSeen { stored_at: at(NOW - receipt_age), head_counter: 7 });
    known.level = Some(Level::Stored);
    facts
}

fn check(item: &ItemFacts, destination: &DestinationFacts, expected: (Presence, Code)) {
    let told = explain(item, destination, at(NOW));
    assert_eq!((told.presence, told.code), expected, "{item:?} {destination:?}");
}

#[test]
fn without_a_record_the_first_thing_in_the_way_is_told() {
    let replica = ItemFacts { is_replica: true, ..item() };
    let alone = ItemFacts { policy_id: None, ..item() };
    let blocked = ItemFacts { is_blocked: true, ..item() };
    let unpaired = DestinationFacts { is_paired: false, has_grant: false, ..destination() };
    let refused = DestinationFacts { has_grant: false, ..destination() };
    let off = DestinationFacts { schedule: Schedule::Off, ..destination() };
    let by_hand = DestinationFacts { schedule: Schedule::Absent, ..destination() };
    for (item, destination, code) in [
        (&replica, &unpaired, Code::IsAReplica),
        (&item(), &unpaired, Code::NotPaired),
        (&alone, &refused, Code::NoGrant),
        (&blocked, &refused, Code::NoGrant),
        (&blocked, &destination(), Code::WritesBlocked),
        (&alone, &destination(), Code::NotOfAPolicy),
        (&item(), &destination(), Code::NotOrdered),
        (&item(), &off, Code::ScheduleOff),
        (&item(), &by_hand, Code::NotADestination),
    ] {
        check(item, destination, (Presence::Missing, code));
    }
    for state in ItemState::ALL.into_iter().filter(|state| *state != ItemState::Available) {
        let busy = ItemFacts { state, ..item() };
        check(&busy, &unpaired, (Presence::Missing, Code::NotAvailable));
    }
}

#[test]
fn a_replica_is_as_good_as_the_newest_word_of_its_region() {
    let stale = EVIDENCE_SECONDS_MAX + 1;
    check(&item(), &replica(5), (Presence::Replicated, Code::Replicated));
    check(&item(), &replica(stale), (Presence::Replicated, Code::ReplicatedUnproven));
    let head = |counter, age| Some(HeadSeen { counter, asked_at: at(NOW - age) });
    let listed = DestinationFacts { head: head(8, 5), ..replica(10 * stale) };
    check(&item(), &listed, (Presence::Replicated, Code::Replicated));
    let evidence = explain(&item(), &listed, at(NOW)).evidence.unwrap();
    assert_eq!((evidence.witness, evidence.at), (Witness::Head, at(NOW - 5)));
    let old = DestinationFacts { head: head(8, stale), ..replica(10 * stale) };
    check(&item(), &old, (Presence::Replicated, Code::ReplicatedUnproven));
    let older = DestinationFacts { head: head(7, 5), ..replica(stale) };
    check(&item(), &older, (Presence::Replicated, Code::ReplicatedUnproven));
    // Gone here, and still there: that is what replicas are for.
    let gone = ItemFacts { state: ItemState::Deleted, policy_id: None, ..item() };
    check(&gone, &listed, (Presence::Replicated, Code::Replicated));
    let mut deleted = listed;
    deleted.record.as_mut().unwrap().gone_at = Some(at(NOW));
    check(&item(), &deleted, (Presence::Missing, Code::DeletedThere));
}

#[test]
fn a_record_tells_what_it_waits_for_and_why_it_ended() {
    use RecordState::{Cancelled, Copying, Failed, Lost, Publishing, Skipped, Verifying, Waiting};
    for (state, word, expected) in [
        (Waiting, "", (Presence::Waiting, Code::Queued)),
        (Copying, "", (Presence::Moving, Code::Copying)),
        (Verifying, "", (Presence::Moving, Code::Verifying)),
        (Publishing, "", (Presence::Moving, Code::Publishing)),
        (Waiting, "peer-unreachable", (Presence::Waiting, Code::PeerUnreachable)),
        (Copying, "destination-full", (Presence::Waiting, Code::DestinationFull)),
        (Verifying, "no-grant", (Presence::Waiting, Code::NoGrant)),
        (Publishing, "receipt-refused", (Presence::Waiting, Code::ReceiptRefused)),
        (Waiting, "never heard of", (Presence::Waiting, Code::Internal)),
        (Failed, "fork", (Presence::Missing, Code::Fork)),
        (Failed, "deleted-there", (Presence::Missing, Code::DeletedThere)),
        (Failed, "never heard of", (Presence::Missing, Code::Failed)),
        (Cancelled, "by hand", (Presence::Missing, Code::Cancelled)),
        (Lost, "lost", (Presence::Missing, Code::Lost)),
        (Skipped, "expired", (Presence::Missing, Code::SkippedExpired)),
        (Skipped, "item-deleted", (Presence::Missing, Code::SkippedDeleted)),
        (Skipped, "", (Presence::Missing, Code::Skipped)),
    ] {
        check(&item(), &record(state, word), expected);
    }
}

#[test]
fn codes_are_words_with_one_sentence_and_one_next_step() {
    let words: BTreeSet<&str> = Code::ALL.into_iter().map(Code::word).collect();
    assert_eq!(words.len(), Code::ALL.len());
    for code in Code::ALL {
        assert_eq!(Code::from_word(code.word()), Some(code));
        assert!(code.word().bytes().all(|byte| byte == b'-' || byte.is_ascii_lowercase()), "{code:?}");
        for text in [code.sentence(), code.next_step()] {
            assert!(!text.is_empty() && !text.ends_with('.'), "{code:?}: {text}");
        }
    }
}

/// `docs/replication.md` lists every code with the very words that the API gives.
#[test]
fn the_documentation_lists_the_codes_as_they_are() {
    let page = include_str!("../../../../docs/replication.md");
    let part = page.split("## Coverage").next().unwrap();
    let rows: Vec<&str> = part.lines().filter(|line| line.starts_with("| `")).collect();
    let expected: Vec<String> = Code::ALL
        .into_iter()
        .map(|code| format!("| `{}` | {} | {} |", code.word(), code.sentence(), code.next_step()))
        .collect();
    assert_eq!(rows, expected);
}
