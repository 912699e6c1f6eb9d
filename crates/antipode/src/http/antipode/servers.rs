//! Servers and their volumes: registered by the operator, seen by the project that owns them.
//! Only the operator sees paths.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use control::Control;
use control::page::ServerSort;
use control::servers::{NewServer, NewVolume};
use model::ids::ResourceId;
use model::server::{Server, Volume, VolumeFormat};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::requests::ServerRequest;
use crate::http::Site;
use crate::http::csbs::Nothing;
use crate::http::error::{OwnError, under};
use crate::http::openapi::parameters::{ServerFilters, ServerPage};
use crate::http::openapi::refusals::{ReadRefusals, WriteRefusals};
use crate::http::openapi::schema::{ForeignId, Moment};
use crate::http::page::{Links, read_page};
use crate::http::reader::{Field, Object, Reading};
use crate::http::request::{Body, LoggedIn, PathParams, Query};

/// The words that the list can be sorted by.
const SORT_KEYS: [(&str, ServerSort); 3] =
    [("created_at", ServerSort::CreatedAt), ("name", ServerSort::Name), ("id", ServerSort::Id)];

/// One server.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServerBody {
    #[schema(value_type = ForeignId)]
    id: String,
    #[schema(value_type = ForeignId)]
    project_id: String,
    name: String,
    #[schema(value_type = Moment)]
    created_at: String,
    volumes: Vec<VolumeBody>,
}

#[derive(Debug, Serialize, ToSchema)]
struct VolumeBody {
    #[schema(value_type = ForeignId)]
    id: String,
    name: String,
    /// Always `raw`.
    format: &'static str,
    /// As large as the disk is.
    size_bytes: u64,
    /// Whether the server starts from it.
    bootable: bool,
    /// Where it lies. Only the operator sees it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    path: Option<String>,
}

/// `{"server": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServerAnswer {
    server: ServerBody,
}

/// `{"servers": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServersAnswer {
    servers: Vec<ServerBody>,
    /// Only while there is more.
    #[serde(skip_serializing_if = "Links::is_empty")]
    servers_links: Links,
}

impl ServerBody {
    /// As the members of the owning project see it.
    fn for_members(server: Server) -> ServerBody {
        let mut body = ServerBody::for_operator(server);
        body.volumes.iter_mut().for_each(|volume| volume.path = None);
        body
    }

    fn for_operator(server: Server) -> ServerBody {
        ServerBody {
            id: server.id.to_string(),
            project_id: server.project_id.to_string(),
            name: server.name,
            created_at: server.created_at.wire(),
            volumes: server.volumes.into_iter().map(VolumeBody::from).collect(),
        }
    }
}

impl From<Volume> for VolumeBody {
    fn from(volume: Volume) -> VolumeBody {
        VolumeBody {
            id: volume.id.to_string(),
            name: volume.name,
            format: volume.format.word(),
            size_bytes: volume.size_bytes,
            bootable: volume.bootable,
            path: Some(volume.path),
        }
    }
}

/// The server that the body of a registration describes.
fn read_server(body: &Value) -> Reading<NewServer> {
    let server = Object::wrapped(body, "server")?;
    let volumes = server.field("volumes").list()?;
    Ok(NewServer {
        id: server.field("id").optional(|field| field.id())?,
        project_id: server.field("project_id").id()?,
        name: server.field("name").text()?.to_owned(),
        volumes: volumes.into_iter().map(read_volume).collect::<Result<_, _>>()?,
    })
}

fn read_volume(field: Field<'_>) -> Reading<NewVolume> {
    let volume = field.object()?;
    let format = volume.field("format");
    Ok(NewVolume {
        id: volume.field("id").optional(|field| field.id())?,
        name: volume.field("name").text_up_to(255)?.to_owned(),
        path: volume.field("path").text_up_to(4096)?.to_owned(),
        format: VolumeFormat::from_word(format.text()?).ok_or_else(|| format.refused("must be raw"))?,
        bootable: volume.field("bootable").optional(|field| field.boolean())?.unwrap_or(false),
    })
}

/// Registers a server with its volumes
#[utoipa::path(
    post,
    path = "/servers",
    operation_id = "registerServer",
    tag = "servers",
    request_body = ServerRequest,
    responses(
        (status = 201, description = "The server as its operator sees it.", body = ServerAnswer, links(
            ("show" = (operation_id = "showServer", parameters(("server_id" = "$response.body#/server/id")))),
            ("protect" = (operation_id = "protectServer", parameters(("resource_id" = "$response.body#/server/id")))),
            ("remove" = (operation_id = "removeServer", parameters(("server_id" = "$response.body#/server/id"))))
        )),
        WriteRefusals
    )
)]
pub(crate) async fn create(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
    Body(body): Body,
) -> Result<(StatusCode, Json<ServerAnswer>), OwnError> {
    let new = read_server(&body)?;
    let server = control.register_server(&caller, new).await.map_err(under("server"))?;
    Ok((StatusCode::CREATED, Json(ServerAnswer { server: ServerBody::for_operator(server) })))
}

/// Lists servers
#[utoipa::path(
    get,
    path = "/servers",
    operation_id = "listServers",
    tag = "servers",
    params(ServerFilters, ServerPage),
    responses(
        (status = 200, description = "A page of servers, or all of the region.", body = ServersAnswer, links(
            ("show" = (operation_id = "showServer", parameters(("server_id" = "$response.body#/servers/0/id")))),
            ("protect" = (operation_id = "protectServer", parameters(("resource_id" = "$response.body#/servers/0/id")))),
            ("back_up" = (operation_id = "backUpServer", parameters(("server_id" = "$response.body#/servers/0/id")))),
            ("backups" = (operation_id = "listItems", parameters(("resource_id" = "$response.body#/servers/0/id"))))
        )),
        ReadRefusals
    )
)]
pub(crate) async fn list(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    LoggedIn(caller): LoggedIn,
    query: Query,
) -> Result<Json<ServersAnswer>, OwnError> {
    let page = read_page(&query, &SORT_KEYS)?;
    query.parsed::<ResourceId>("marker", "the id of a server")?;
    if query.boolean("all")?.unwrap_or(false) {
        let servers = control.all_servers(&caller).await?.into_iter().map(ServerBody::for_operator).collect();
        return Ok(Json(ServersAnswer { servers, servers_links: Links::default() }));
    }
    let found = control.servers(&caller, &page).await?;
    let servers_links = Links::next(&found, |server| server.id.to_string(), &query, &site.api_url);
    let servers = found.rows.into_iter().map(ServerBody::for_members).collect();
    Ok(Json(ServersAnswer { servers, servers_links }))
}

/// Shows a server
#[utoipa::path(
    get,
    path = "/servers/{server_id}",
    operation_id = "showServer",
    tag = "servers",
    responses(
        (status = 200, description = "The server as members of its project see it.", body = ServerAnswer),
        ReadRefusals
    )
)]
pub(crate) async fn show(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
    path: PathParams,
) -> Result<Json<ServerAnswer>, OwnError> {
    let server = control.server(&caller, &path.id::<ResourceId>("server_id")?).await?;
    Ok(Json(ServerAnswer { server: ServerBody::for_members(server) }))
}

/// Removes a server; its backups stay
#[utoipa::path(
    delete,
    path = "/servers/{server_id}",
    operation_id = "removeServer",
    tag = "servers",
    responses(
        (status = 200, description = "It is gone.", body = Nothing),
        WriteRefusals
    )
)]
pub(crate) async fn delete(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
    path: PathParams,
) -> Result<Json<Nothing>, OwnError> {
    control.remove_server(&caller, &path.id::<ResourceId>("server_id")?).await?;
    Ok(Json(Nothing {}))
}
