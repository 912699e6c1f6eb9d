//! Tags of backups and of policies: given, taken away, listed, and searched by. What may carry them is
//! looked up first, so that something absent and something of another project look the same.

pub use catalog::{TagFamily, TagFilter, TagMatch, TagToRemove, Tagged, ValueMatch};
use model::policy::Policy;
use model::text::Tag;

use crate::Control;
use crate::access::{Action, Caller};
use crate::checkpoints::ItemView;
use crate::error::{Error, Reason};
use crate::page::Page;

/// The things of one page, in the form of their family.
#[derive(Clone, Debug)]
pub enum TaggedPage {
    /// Items with their replication records.
    Items(Vec<ItemView>),
    /// Policies.
    Policies(Vec<Policy>),
}

impl Control {
    /// The tags of one thing, in the order in which it got them.
    pub async fn tags(&self, caller: &Caller, of: Tagged) -> Result<Vec<Tag>, Error> {
        let project = caller.may(Action::Read)?;
        let of = self.tagged_thing(caller, of).await?;
        Ok(self.catalog().tags(project, &of).await?)
    }

    /// Gives one thing more tags. One with a known key gets the new value; the same again changes nothing.
    pub async fn put_tags(&self, caller: &Caller, of: Tagged, tags: &[Tag]) -> Result<(), Error> {
        let project = caller.may(to_change(of))?;
        let of = self.tagged_thing(caller, of).await?;
        Ok(self.catalog().put_tags(project, &of, tags, self.now()).await?)
    }

    /// Takes tags away; what is not there is gone already. Answers how many there were.
    pub async fn remove_tags(
        &self,
        caller: &Caller,
        of: Tagged,
        tags: &[TagToRemove],
    ) -> Result<usize, Error> {
        let project = caller.may(to_change(of))?;
        let of = self.tagged_thing(caller, of).await?;
        Ok(self.catalog().remove_tags(project, &of, tags, self.now()).await?)
    }

    /// Takes one tag away, which must be there.
    pub async fn remove_tag(&self, caller: &Caller, of: Tagged, key: &str) -> Result<(), Error> {
        let tag = TagToRemove { key: key.to_owned(), value: None };
        match self.remove_tags(caller, of, &[tag]).await? {
            0 => Err(Error::not_found(Reason::TagNotFound, "The backup tag does not exist.")),
            _ => Ok(()),
        }
    }

    /// Every pair of key and value of a family in the caller's project, in order.
    pub async fn project_tags(&self, caller: &Caller, family: TagFamily) -> Result<Vec<Tag>, Error> {
        let project = caller.may(Action::Read)?;
        Ok(self.catalog().project_tags(project, family).await?)
    }

    /// A page of what the filter lets through, newest first, and how many there are without paging.
    pub async fn tagged(
        &self,
        caller: &Caller,
        family: TagFamily,
        filter: &TagFilter,
        (limit, offset): (u32, u64),
    ) -> Result<(TaggedPage, u64), Error> {
        let project = caller.may(Action::Read)?;
        match family {
            TagFamily::Items => {
                let page = Page { limit, offset, ..Page::first() };
                let (items, count) = self.catalog().tagged_items(project, filter, &page).await?;
                Ok((TaggedPage::Items(self.with_records(items).await?), count))
            }
            TagFamily::Policies => {
                let page = Page { limit, offset, ..Page::first() };
                let (policies, count) = self.catalog().tagged_policies(project, filter, &page).await?;
                Ok((TaggedPage::Policies(policies), count))
            }
        }
    }

    /// How many things the filter lets through.
    pub async fn count_tagged(
        &self,
        caller: &Caller,
        family: TagFamily,
        filter: &TagFilter,
    ) -> Result<u64, Error> {
        let project = caller.may(Action::Read)?;
        Ok(self.catalog().count_tagged(project, family, filter).await?)
    }

    /// The thing that is meant: the id of a checkpoint with one item stands for that item.
    async fn tagged_thing(&self, caller: &Caller, of: Tagged) -> Result<Tagged, Error> {
        let project = caller.may(Action::Read)?;
        match of {
            Tagged::Item(id) => Ok(Tagged::Item(self.item_of(project, id).await?.id)),
            Tagged::Policy(id) => Ok(Tagged::Policy(self.policy_of(project, id).await?.id)),
        }
    }
}

fn to_change(of: Tagged) -> Action {
    match of.family() {
        TagFamily::Items => Action::Order,
        TagFamily::Policies => Action::ChangePolicies,
    }
}
