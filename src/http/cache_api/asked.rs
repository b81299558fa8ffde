//! What handlers are handed: the caller's cache, and a body within its limits.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use bytes::Bytes;

use super::problem::Problem;
use crate::cache::{Cache, CacheError};
use crate::http::{App, body};

/// The caller's cache that the path names. An unknown one is an empty one where caches may spring into being.
pub(in crate::http) struct Named(pub(in crate::http) Arc<Cache>);

impl FromRequestParts<Arc<App>> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let names = Path::<HashMap<String, String>>::from_request_parts(parts, app).await;
        let Path(names) = names.map_err(|error| Problem::invalid(error.body_text()))?;
        let tenant = app.live().tenants.identify(&parts.headers)?.tenant;
        let id = names.get("cache").map_or("", String::as_str);
        let cache = app.caches.get(&tenant, id)?;
        cache.wake().await.map_err(CacheError::from)?;
        Ok(Self(cache))
    }
}

/// All of a request's body.
pub(in crate::http) struct Whole(pub(in crate::http) Bytes);

impl FromRequest<Arc<App>> for Whole {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let server = &app.settings.server;
        Ok(Self(body::read(request.into_body(), server.max_cache_body, server.read_timeout.0).await?))
    }
}
