//! Asking before ordering: `check_protectable` and `check_restorable` (`csbs-v1-api.md` §5.2). What would be
//! refused is an answer here, with the code that the order would have got.

use axum::Json;
use axum::extract::State;
use control::checks::{ResourceNamed, RestoreQuestion, Verdict};
use control::{Caller, Control};
use model::restore::RestoreVolume;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::requests::ChecksRequest;
use crate::http::error::ApiError;
use crate::http::openapi::refusals::ReadRefusals;
use crate::http::openapi::schema::ForeignId;
use crate::http::reader::{Field, Object, Reading};
use crate::http::request::{Body, InProject, Provider};

/// Longest type of a resource, in characters.
const TYPE_CHARACTERS_MAX: usize = 255;

/// What a call asks.
enum Questions {
    Protectable(Vec<ResourceNamed>),
    Restorable(Vec<RestoreQuestion>),
}

/// The answers to either question; the other key is absent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChecksAnswer {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    protectable: Option<Vec<CheckBody>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    restorable: Option<Vec<CheckBody>>,
}

/// One answer. Code and text are empty when there is nothing to say.
#[derive(Debug, Serialize, ToSchema)]
struct CheckBody {
    /// Whether the order would be accepted now.
    result: bool,
    #[schema(value_type = ForeignId)]
    resource_id: String,
    /// As asked.
    resource_type: String,
    /// The code that the order would get, or of what to know before; else empty.
    error_code: &'static str,
    error_msg: String,
}

impl CheckBody {
    fn new(resource: ResourceNamed, verdict: Verdict) -> CheckBody {
        let (result, told) = match verdict {
            Verdict::Yes(note) => (true, note),
            Verdict::No(refusal) => (false, Some(refusal)),
        };
        let (error_code, error_msg) = told.map(|error| ApiError::from(error).into_told()).unwrap_or_default();
        CheckBody {
            result,
            resource_id: resource.id.to_string(),
            resource_type: resource.resource_type,
            error_code,
            error_msg,
        }
    }

    fn list(resources: Vec<ResourceNamed>, verdicts: Vec<Verdict>) -> Vec<CheckBody> {
        let pairs = resources.into_iter().zip(verdicts);
        pairs.map(|(resource, verdict)| CheckBody::new(resource, verdict)).collect()
    }
}

/// Exactly one of the two questions.
fn read_questions(body: &Value) -> Reading<Questions> {
    let body = Object::body(body)?;
    let (protectable, restorable) = (body.field("check_protectable"), body.field("check_restorable"));
    match (protectable.is_given(), restorable.is_given()) {
        (true, false) => read_each(protectable, |object| read_resource(&object)).map(Questions::Protectable),
        (false, true) => read_each(restorable, |object| read_restore(&object)).map(Questions::Restorable),
        _ => Err(ApiError::malformed("body", "must hold either check_protectable or check_restorable")),
    }
}

fn read_each<'a, T>(list: Field<'a>, read: impl Fn(Object<'a>) -> Reading<T>) -> Reading<Vec<T>> {
    list.list()?.into_iter().map(|member| read(member.object()?)).collect()
}

fn read_resource(object: &Object<'_>) -> Reading<ResourceNamed> {
    Ok(ResourceNamed {
        id: object.field("resource_id").id()?,
        resource_type: object.field("resource_type").text_up_to(TYPE_CHARACTERS_MAX)?.to_owned(),
    })
}

fn read_restore(object: &Object<'_>) -> Reading<RestoreQuestion> {
    let target = object.field("target").object()?;
    let read_volume = |volume: Object<'_>| -> Reading<RestoreVolume> {
        Ok(RestoreVolume {
            backup_id: volume.field("backup_id").id()?,
            volume_id: volume.field("volume_id").id()?,
        })
    };
    Ok(RestoreQuestion {
        item_id: object.field("checkpoint_item_id").id()?,
        target: read_resource(&target)?,
        volumes: read_each(target.field("volumes"), read_volume)?,
    })
}

impl Questions {
    async fn ask(self, control: &Control, caller: &Caller) -> Result<ChecksAnswer, ApiError> {
        let mut answer = ChecksAnswer { protectable: None, restorable: None };
        match self {
            Questions::Protectable(resources) => {
                let verdicts = control.check_protectable(caller, &resources).await?;
                answer.protectable = Some(CheckBody::list(resources, verdicts));
            }
            Questions::Restorable(questions) => {
                let targets = questions.iter().map(|question| question.target.clone()).collect();
                let verdicts = control.check_restorable(caller, questions).await?;
                answer.restorable = Some(CheckBody::list(targets, verdicts));
            }
        }
        Ok(answer)
    }
}

/// Asks whether servers could be backed up, or backups restored
///
/// Changes nothing. What would be refused is an answer here, with the code of the refusal.
#[utoipa::path(
    post,
    path = "/providers/{provider_id}/resources/action",
    operation_id = "checkResources",
    tag = "backups",
    request_body = ChecksRequest,
    responses(
        (status = 200, description = "One answer each, in order.", body = ChecksAnswer),
        ReadRefusals
    )
)]
pub(crate) async fn check(
    State(control): State<Control>,
    InProject(caller): InProject,
    _: Provider,
    Body(body): Body,
) -> Result<Json<ChecksAnswer>, ApiError> {
    Ok(Json(read_questions(&body)?.ask(&control, &caller).await?))
}
