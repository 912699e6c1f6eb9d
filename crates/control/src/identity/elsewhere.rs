//! A Keystone elsewhere in the place of the embedded identity service.
//!
//! Every token is asked for there, and an answer is believed for three seconds from the moment the question
//! was put: what is revoked there is refused here within five. When it does not answer nobody gets in, and
//! nobody is told that the token is wrong.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use catalog::{CatalogError, Conflict};
use model::identity::{Project, Proof, Role, TokenScope, User};
use model::ids::{ProjectId, UserId};
use model::time::Timestamp;
use tokio::sync::Semaphore;
use vault::ids::from_hex;
use vault::keys::derive;

use crate::Control;
use crate::access::Caller;
use crate::error::{Error, Kind, Reason};
use crate::page::found;

/// How long an answer is believed, in seconds from the question.
const BELIEVED_SECONDS: i64 = 3;
/// Answers that are remembered.
const ANSWERS_MAX: usize = 4096;
/// Questions that are open at once.
const QUESTIONS_MAX: usize = 16;
/// Longer texts are no tokens.
const TOKEN_BYTES_MAX: usize = 8192;
const TOKEN_LABEL: &str = "antipode v1 token of a keystone elsewhere";
const USER_LABEL: &str = "antipode v1 user of a keystone elsewhere";

/// The way to the identity service.
pub trait IdentityElsewhere: Send + Sync {
    /// What a token stands for there; nothing when it is not valid.
    fn look_up<'a>(&'a self, token: &'a str) -> LookingUp<'a>;
}

/// A question that is under way.
pub type LookingUp<'a> = Pin<Box<dyn Future<Output = Result<Option<ForeignToken>, NoAnswer>> + Send + 'a>>;

/// What the identity service says of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignToken {
    /// The user's id there.
    pub user_id: String,
    /// The user's name there.
    pub user_name: String,
    /// The project, with its name, or nothing.
    pub project: Option<(ProjectId, String)>,
    /// The roles that the configuration makes of those it has there.
    pub roles: Vec<Role>,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// The identity service did not answer, or not as one.
#[derive(Debug, thiserror::Error)]
#[error("the identity service does not answer: {0}")]
pub struct NoAnswer(pub String);

/// The identity service, and what it said lately.
pub(crate) struct Elsewhere {
    service: Arc<dyn IdentityElsewhere>,
    answers: Mutex<HashMap<[u8; 32], Answer>>,
    questions: Semaphore,
}

struct Answer {
    scope: TokenScope,
    asked_at: Timestamp,
}

impl Elsewhere {
    fn new(service: Arc<dyn IdentityElsewhere>) -> Elsewhere {
        Elsewhere { service, answers: Mutex::default(), questions: Semaphore::new(QUESTIONS_MAX) }
    }

    fn remembered(&self, digest: &[u8; 32], now: Timestamp) -> Option<TokenScope> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(digest).filter(|answer| answer.is_good(now)).map(|answer| answer.scope.clone())
    }

    fn remember(&self, digest: [u8; 32], answer: Answer, now: Timestamp) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= ANSWERS_MAX {
            answers.retain(|_, answer| answer.is_good(now));
        }
        if answers.len() >= ANSWERS_MAX {
            answers.clear();
        }
        answers.insert(digest, answer);
    }
}

impl Answer {
    /// Not from the future either: a clock that was set back must not make it last.
    fn is_good(&self, now: Timestamp) -> bool {
        self.asked_at <= now
            && now < self.asked_at.plus_seconds(BELIEVED_SECONDS)
            && now < self.scope.expires_at
    }
}

impl Control {
    /// Has a Keystone elsewhere say who callers are, from now on; the embedded identity service opens nothing
    /// any more. For the start, before anybody listens.
    pub fn ask_elsewhere(&self, service: Arc<dyn IdentityElsewhere>) {
        // Whoever was set first stays: there is one configuration.
        let _ = self.elsewhere_cell().set(Elsewhere::new(service));
    }

    /// Whether a Keystone elsewhere says who callers are.
    pub fn has_identity_elsewhere(&self) -> bool {
        self.elsewhere_cell().get().is_some()
    }

    /// Finds out who calls with a token of the Keystone elsewhere.
    pub(super) async fn authenticate_elsewhere(
        &self,
        elsewhere: &Elsewhere,
        token: &str,
    ) -> Result<Caller, Error> {
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            return Err(Error::unauthenticated());
        }
        let digest = derive(TOKEN_LABEL, token.as_bytes());
        if let Some(scope) = elsewhere.remembered(&digest, self.now()) {
            return Ok(Caller::new(scope, self.troubles().clone()));
        }
        let _turn = elsewhere.questions.acquire().await;
        let asked_at = self.now();
        let token = elsewhere.service.look_up(token).await.map_err(unavailable)?;
        let token = token.filter(|token| token.expires_at > asked_at).ok_or_else(Error::unauthenticated)?;
        let scope = self.scope_of_foreign(token).await?;
        elsewhere.remember(digest, Answer { scope: scope.clone(), asked_at }, self.now());
        Ok(Caller::new(scope, self.troubles().clone()))
    }

    async fn scope_of_foreign(&self, token: ForeignToken) -> Result<TokenScope, Error> {
        let project = match token.project {
            Some((id, name)) => Some(self.ensure_foreign_project(id, name).await?),
            None => None,
        };
        if project.as_ref().is_some_and(|project| !project.enabled) {
            return Err(Error::unauthenticated());
        }
        let mut roles = token.roles;
        if project.is_none() {
            roles.retain(|role| role.is_of_region());
        }
        let user = User {
            id: user_id(&token.user_id),
            name: token.user_name,
            description: String::new(),
            email: String::new(),
            default_project: None,
            enabled: true,
            created_at: token.issued_at,
        };
        let proof = Proof::Elsewhere;
        Ok(TokenScope {
            user,
            project,
            roles,
            proof,
            issued_at: token.issued_at,
            expires_at: token.expires_at,
        })
    }

    /// A project that is seen for the first time appears in the catalog, under its id. Its name may be taken
    /// by one of another domain; then it is named by its id.
    async fn ensure_foreign_project(&self, id: ProjectId, name: String) -> Result<Project, Error> {
        if let Some(project) = found(self.catalog().project(&id).await)? {
            return Ok(project);
        }
        for name in [name, id.to_string()] {
            let project = Project {
                id: id.clone(),
                name,
                description: String::new(),
                enabled: true,
                created_at: self.now(),
            };
            match self.catalog().create_project(&project).await {
                Ok(()) => return Ok(project),
                Err(CatalogError::Conflict(Conflict::NameTaken { .. })) => {}
                // Two of its callers came at the same moment.
                Err(CatalogError::Conflict(Conflict::IdTaken { .. })) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.catalog().project(&id).await?)
    }
}

/// Ids of users elsewhere have other forms; ours follow from them.
fn user_id(foreign: &str) -> UserId {
    match from_hex::<16>(foreign) {
        Ok(bytes) => UserId::from_bytes(bytes),
        Err(_) => {
            let digest = derive(USER_LABEL, foreign.as_bytes());
            UserId::from_entropy(*digest.first_chunk().expect("a digest has more than 16 bytes"))
        }
    }
}

fn unavailable(failure: NoAnswer) -> Error {
    let message = "the identity service does not answer now; try again";
    let mut told = Error::new(Kind::Unavailable, Reason::Busy, message);
    told.cause = Some(Box::new(failure));
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(asked_at: i64) -> Answer {
        let moment = Timestamp::from_micros(0);
        let user = User {
            id: user_id("x"),
            name: "x".to_owned(),
            description: String::new(),
            email: String::new(),
            default_project: None,
            enabled: true,
            created_at: moment,
        };
        let scope = TokenScope {
            user,
            project: None,
            roles: Vec::new(),
            proof: Proof::Elsewhere,
            issued_at: moment,
            expires_at: moment.plus_seconds(100),
        };
        Answer { scope, asked_at: moment.plus_seconds(asked_at) }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(0).plus_seconds(seconds)
    }

    #[test]
    fn an_answer_is_believed_for_three_seconds_and_never_from_the_future() {
        for (now, is_good) in [(9, false), (10, true), (12, true), (13, false), (99, false)] {
            assert_eq!(answer(10).is_good(at(now)), is_good, "{now}");
        }
        assert!(answer(98).is_good(at(99)));
        assert!(!answer(99).is_good(at(100)), "the token has ended");
    }

    #[test]
    fn the_memory_is_bounded() {
        struct Nobody;
        impl IdentityElsewhere for Nobody {
            fn look_up<'a>(&'a self, _: &'a str) -> LookingUp<'a> {
                Box::pin(async { Ok(None) })
            }
        }
        let elsewhere = Elsewhere::new(Arc::new(Nobody));
        for number in 0..20_000u32 {
            let digest = derive("test", &number.to_le_bytes());
            elsewhere.remember(digest, answer(10), at(10));
        }
        assert!(elsewhere.answers.lock().unwrap().len() <= ANSWERS_MAX);
        let last = derive("test", &19_999u32.to_le_bytes());
        assert!(elsewhere.remembered(&last, at(11)).is_some());
    }

    #[test]
    fn ids_of_users_elsewhere_keep_their_bytes_where_they_have_sixteen() {
        let id = user_id("fc1cfc949e6145eeb5c875fa19ac749f");
        assert_eq!(id.to_string(), "fc1cfc94-9e61-45ee-b5c8-75fa19ac749f");
        assert_eq!(user_id("ldap user"), user_id("ldap user"));
        assert_ne!(user_id("ldap user"), user_id("other user"));
    }
}
