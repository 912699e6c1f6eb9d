//! Tags: both families by the same code, and the store hears of those of a policy.

use catalog::{
    CatalogError, Conflict, Page, StateSubject, TagFamily, TagFilter, TagMatch, TagToRemove, Tagged,
    ValueMatch,
};
use model::text::Tag;

use super::world::{World, at, item_id, other_project, policy_id, project};

fn tag(key: &str, value: &str) -> Tag {
    Tag::new(key, value).unwrap()
}

fn having(key: &str, values: &[&str]) -> TagMatch {
    let values = values.iter().map(|value| ValueMatch::Is((*value).to_owned())).collect();
    TagMatch { key: key.to_owned(), values }
}

/// A policy and one of its items; both begin with tags of their own.
async fn things(world: &World) -> [Tagged; 2] {
    let policy = world.policy(1, &["s1"]).await;
    world.run(&policy, 1).await;
    [Tagged::Item(item_id(10)), Tagged::Policy(policy_id(1))]
}

pub(crate) async fn tags_are_given_and_taken_away_one_by_one(world: &World) {
    let catalog = &world.catalog;
    for of in things(world).await {
        let before = catalog.tags(&project(), &of).await.unwrap();
        assert_eq!(before[0], tag("team", "storage"));
        catalog.put_tags(&project(), &of, &[tag("new", "1"), tag("team", "web")], at(60)).await.unwrap();
        let after = catalog.tags(&project(), &of).await.unwrap();
        assert_eq!((&after[0], after.last().unwrap()), (&tag("team", "web"), &tag("new", "1")));
        assert_eq!(after.len(), before.len() + 1);

        let other_value = TagToRemove { key: "new".to_owned(), value: Some("2".to_owned()) };
        assert_eq!(catalog.remove_tags(&project(), &of, &[other_value], at(61)).await.unwrap(), 0);
        let by_key = TagToRemove { key: "new".to_owned(), value: None };
        let twice = [by_key.clone(), by_key];
        assert_eq!(catalog.remove_tags(&project(), &of, &twice, at(62)).await.unwrap(), 1);

        let many: Vec<Tag> = (0..10).map(|n| tag(&format!("k{n}"), "")).collect();
        let refused = catalog.put_tags(&project(), &of, &many, at(63)).await;
        assert!(matches!(refused, Err(CatalogError::Conflict(Conflict::TooManyTags))));
        assert_eq!(catalog.tags(&project(), &of).await.unwrap().len(), before.len());
        for refused in [
            catalog.put_tags(&other_project(), &of, &[tag("x", "")], at(64)).await,
            catalog.remove_tags(&other_project(), &of, &[], at(64)).await.map(drop),
            catalog.tags(&other_project(), &of).await.map(drop),
        ] {
            assert!(matches!(refused, Err(CatalogError::NotFound { .. })), "{refused:?}");
        }
    }
}

pub(crate) async fn a_policy_with_other_tags_is_a_changed_policy(world: &World) {
    let catalog = &world.catalog;
    let policy = world.policy(1, &["s1"]).await;
    for state in catalog.unwritten_state(10).await.unwrap() {
        catalog.note_state_written(&state).await.unwrap();
    }
    let of = Tagged::Policy(policy.id);
    catalog.put_tags(&project(), &of, &policy.tags, at(5)).await.unwrap();
    assert_eq!(catalog.unwritten_state(10).await.unwrap(), [], "the same again changes nothing");
    catalog.put_tags(&project(), &of, &[tag("tier", "gold")], at(0)).await.unwrap();
    let unwritten = catalog.unwritten_state(10).await.unwrap();
    assert_eq!(unwritten.len(), 1);
    assert_eq!(unwritten[0].subject, StateSubject::Policy);
    let refused = catalog.update_policy(&policy, policy.updated_at).await;
    assert!(matches!(refused, Err(CatalogError::Conflict(Conflict::PolicyChanged))));
}

pub(crate) async fn a_search_by_tags_counts_and_pages(world: &World) {
    let catalog = &world.catalog;
    for n in 1..=3u8 {
        let policy = world.policy(n, &[&format!("s{n}")]).await;
        world.run(&policy, n).await;
        let value = ["", "odd", "even", "odd"][usize::from(n)];
        for of in [Tagged::Item(item_id(n * 10)), Tagged::Policy(policy.id)] {
            catalog.put_tags(&project(), &of, &[tag("kind", value)], at(60)).await.unwrap();
        }
    }
    let odd = TagFilter { all: vec![having("kind", &["odd"])], ..TagFilter::default() };
    let not_odd = TagFilter { not_any: vec![having("kind", &["odd"])], ..TagFilter::default() };
    let team_and_even = vec![having("team", &[]), having("kind", &["even"])];
    let not_both = TagFilter { not_all: team_and_even.clone(), ..TagFilter::default() };
    let any = TagFilter { any: vec![having("kind", &["even"]), having("none", &[])], ..TagFilter::default() };
    let named = TagFilter {
        name: Some(ValueMatch::Contains("Y-2".to_owned())),
        all: team_and_even,
        ..TagFilter::default()
    };
    for (filter, policies, items) in [
        (&odd, vec![3, 1], vec![30, 10]),
        (&not_odd, vec![2], vec![20]),
        (&not_both, vec![3, 1], vec![30, 10]),
        (&any, vec![2], vec![20]),
        (&named, vec![2], vec![]),
        (&TagFilter::default(), vec![3, 2, 1], vec![30, 20, 10]),
    ] {
        let (found, total) = catalog.tagged_policies(&project(), filter, &Page::first()).await.unwrap();
        assert_eq!(total, policies.len() as u64);
        let expected: Vec<_> = policies.iter().map(|n| policy_id(*n)).collect();
        assert_eq!(found.iter().map(|policy| policy.id).collect::<Vec<_>>(), expected, "{filter:?}");
        let count = catalog.count_tagged(&project(), TagFamily::Policies, filter).await.unwrap();
        assert_eq!(count, policies.len() as u64);
        let (found, total) = catalog.tagged_items(&project(), filter, &Page::first()).await.unwrap();
        assert_eq!(total, items.len() as u64);
        let expected: Vec<_> = items.iter().map(|n| item_id(*n)).collect();
        assert_eq!(found.iter().map(|item| item.id).collect::<Vec<_>>(), expected, "{filter:?}");
        let count = catalog.count_tagged(&project(), TagFamily::Items, filter).await.unwrap();
        assert_eq!(count, items.len() as u64);
        let count = catalog.count_tagged(&other_project(), TagFamily::Items, filter).await.unwrap();
        assert_eq!(count, 0);
    }
    let second = Page { limit: 1, offset: 1, ..Page::first() };
    let (found, total) = catalog.tagged_items(&project(), &odd, &second).await.unwrap();
    assert_eq!(total, 2);
    assert_eq!(found.iter().map(|item| item.id).collect::<Vec<_>>(), [item_id(10)]);
    let tags = catalog.project_tags(&project(), TagFamily::Policies).await.unwrap();
    assert_eq!(tags, [tag("kind", "even"), tag("kind", "odd"), tag("team", "storage")]);
    assert_eq!(catalog.project_tags(&other_project(), TagFamily::Items).await.unwrap(), []);
}

pub(crate) async fn ten_tags_given_at_once_are_all_there(world: &World) {
    let [of, _] = things(world).await;
    let mut running = Vec::new();
    for n in 0..8 {
        let catalog = world.catalog.clone();
        running.push(tokio::spawn(async move {
            catalog.put_tags(&project(), &of, &[tag(&format!("k{n}"), "")], at(60)).await.unwrap();
        }));
    }
    for handle in running {
        handle.await.unwrap();
    }
    assert_eq!(world.catalog.tags(&project(), &of).await.unwrap().len(), 10);
}
