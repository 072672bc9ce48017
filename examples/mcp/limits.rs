//! A limit for each tool and client, and the answer to a call beyond it.

use axum::extract::ConnectInfo;
use limiter_axum::PeerAddr;
use limiter_core::{Error, Limiter, QuotaError};
use rmcp::{
    ErrorData, RoleServer,
    model::{CallToolResult, ContentBlock},
    service::RequestContext,
};
use serde_json::json;
use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

/// The limiters of the tools that have one, by name. Clones share them.
#[derive(Clone)]
pub(crate) struct ToolLimits(Arc<HashMap<&'static str, Limiter>>);

impl ToolLimits {
    /// Tools and their quotas, for each client.
    pub(crate) fn new(quotas: &[(&'static str, &str)]) -> Result<Self, QuotaError> {
        let limiter = |&(tool, quota): &(&'static str, &str)| Ok((tool, Limiter::parse(quota)?));
        Ok(Self(Arc::new(quotas.iter().map(limiter).collect::<Result<_, QuotaError>>()?)))
    }

    /// Takes the units of a call; `Some` is the answer to one that gets none.
    pub(crate) fn check(
        &self,
        tool: &str,
        cost: u64,
        context: &RequestContext<RoleServer>,
    ) -> Result<Option<CallToolResult>, ErrorData> {
        let Some(limiter) = self.0.get(tool) else { return Ok(None) };
        match limiter.check_n(client(context)?, cost) {
            Ok(decision) if decision.allowed() => Ok(None),
            Ok(denied) => Ok(Some(refused(tool, limiter, denied.retry_after()))),
            Err(Error::NeverFits { .. }) => Ok(Some(refused(tool, limiter, None))),
            Err(error) => Err(ErrorData::internal_error(error.to_string(), None)),
        }
    }
}

/// Who calls: the peer's address here, of IPv6 the /64, of which a client has all. Where clients sign in, the user whom the token was checked for; not the session,
/// of which a client opens as many as it likes.
fn client(context: &RequestContext<RoleServer>) -> Result<std::net::IpAddr, ErrorData> {
    let peer = context.extensions.get::<axum::http::request::Parts>().and_then(|request| request.extensions.get());
    match peer {
        Some(ConnectInfo::<SocketAddr>(peer)) => Ok(PeerAddr::new().group(peer.ip())),
        None => Err(ErrorData::internal_error("serve with into_make_service_with_connect_info::<SocketAddr>()", None)),
    }
}

/// A sentence for the model and the same for programs. Without a wait: such a call can never be admitted.
fn refused(tool: &str, limiter: &Limiter, retry_after: Option<Duration>) -> CallToolResult {
    let quota = limiter.quota().map(|quota| quota.to_string()).unwrap_or_default();
    // Rounded up, so that who waits as long as told is admitted.
    let seconds = retry_after.map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
    let sentence = match seconds {
        Some(seconds) => format!("rate limit exceeded: `{tool}` is limited to {quota}; retry after {seconds} seconds"),
        None => format!("too large for the rate limit: `{tool}` is limited to {quota}; ask for less"),
    };
    let error = if seconds.is_some() { "rate_limited" } else { "too_large" };
    let mut result = CallToolResult::structured_error(json!({
        "error": error,
        "tool": tool,
        "quota": quota,
        "retry_after_seconds": seconds,
    }));
    result.content = vec![ContentBlock::text(sentence)];
    result
}
