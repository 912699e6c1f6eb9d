//! Explain: why an item is, or is not, in another region. The catalog gathers what is known at one moment,
//! [`model::explain::explain`] decides; nothing is asked of a peer, so that the answer comes whatever is down.

use catalog::ExplainFacts;
use model::explain::{self, DestinationFacts, Explanation};
use model::ids::{CheckpointItemId, RegionName, ResourceId};
use model::time::Timestamp;

use crate::Control;
use crate::access::{Action, Caller};
use crate::error::{Error, Reason};
use crate::page::found_or;

/// An item and why it is, or is not, in each region.
#[derive(Clone, Debug)]
pub struct ExplainedItem {
    /// The item.
    pub item_id: CheckpointItemId,
    /// Its server.
    pub resource_id: ResourceId,
    /// The server's name when it was backed up.
    pub resource_name: String,
    /// The moment of the answer.
    pub at: Timestamp,
    /// Each region by name: what is known, and what follows.
    pub destinations: Vec<(DestinationFacts, Explanation)>,
}

impl Control {
    /// Explains an item of the caller's project, deleted or not, for every region or for one.
    pub async fn explain_item(
        &self,
        caller: &Caller,
        id: CheckpointItemId,
        asked: Option<&RegionName>,
    ) -> Result<ExplainedItem, Error> {
        let project = caller.may(Action::Read)?;
        let now = self.now();
        let facts = self.catalog().explain_facts(project, id, asked, now).await;
        let reason = Reason::ItemNotFound { item: id.to_string() };
        let facts = found_or(facts, reason, &format!("Checkpoint_item ({id}) is not found."))?;
        let ExplainFacts { item_id, resource_id, resource_name, item, mut destinations } = facts;
        if let Some(asked) = asked {
            destinations.retain(|destination| destination.region == *asked);
            if destinations.is_empty() {
                self.require_destination(asked)?;
            }
        }
        let explained = |destination: DestinationFacts| {
            let explanation = explain::explain(&item, &destination, now);
            (destination, explanation)
        };
        Ok(ExplainedItem {
            item_id,
            resource_id,
            resource_name,
            at: now,
            destinations: destinations.into_iter().map(explained).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use model::explain::Code;

    /// Whatever word a worker notes in a record has a code of its own; the two that skip a record have others.
    #[test]
    fn every_word_of_a_worker_is_a_code() {
        let sources = [include_str!("replication/worker.rs"), include_str!("workers.rs")];
        let mut words = Vec::new();
        for source in sources {
            for (_, rest) in
                source.match_indices("code: \"").map(|(at, mark)| source.split_at(at + mark.len()))
            {
                words.push(rest.split('"').next().unwrap_or_default());
            }
            for (_, rest) in
                source.match_indices("Refusal::").map(|(at, mark)| source.split_at(at + mark.len()))
            {
                let word = rest.split_once("=> \"").filter(|(before, _)| !before.contains('\n'));
                words.extend(word.and_then(|(_, rest)| rest.split('"').next()));
            }
        }
        assert!(words.len() > 12, "{words:?}");
        for word in words.into_iter().filter(|word| !["expired", "item-deleted"].contains(word)) {
            assert!(Code::from_word(word).is_some(), "{word}");
        }
    }
}
