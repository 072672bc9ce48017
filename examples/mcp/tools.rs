//! The tools: a search that is limited by calls, a translation that is limited by characters, and a clock that is not.

use super::limits::ToolLimits;
use limiter_core::QuotaError;
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    handler::server::{router::tool::ToolRouter, tool::ToolCallContext, wrapper::Parameters},
    model::{CallToolRequestParams, CallToolResponse, ServerCapabilities, ServerConfig},
    schemars,
    service::RequestContext,
    tool, tool_handler, tool_router,
};
use std::time::SystemTime;

#[derive(Clone)]
pub(crate) struct Tools {
    tool_router: ToolRouter<Self>,
    limits: ToolLimits,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Search {
    /// What to search for.
    query: String,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Translation {
    /// The text to translate.
    text: String,
}

#[tool_router]
impl Tools {
    pub(crate) fn new() -> Result<Self, QuotaError> {
        let limits = ToolLimits::new(&[("search", "3/min"), ("translate", "1000/min")])?;
        Ok(Self { tool_router: Self::tool_router(), limits })
    }

    #[tool(description = "Search the documentation")]
    fn search(&self, Parameters(Search { query }): Parameters<Search>) -> String {
        format!("nothing was found for {query:?}")
    }

    #[tool(description = "Translate a text into shouting")]
    fn translate(&self, Parameters(Translation { text }): Parameters<Translation>) -> String {
        text.to_uppercase()
    }

    #[tool(description = "Tell the seconds since 1970")]
    fn time(&self) -> String {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        since.as_secs().to_string()
    }
}

#[tool_handler(router = self.tool_router)]
impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_instructions("Tools are limited for each client; an error result says when to retry.")
    }

    /// Every call of a tool comes through here.
    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if let Some(refused) = self.limits.check(&request.name, cost(&request), &context)? {
            return Ok(refused.into());
        }
        self.tool_router.call(ToolCallContext::new(self, request, context)).await
    }
}

/// A translation takes its length, even one of nothing a unit; so does any other call.
fn cost(request: &CallToolRequestParams) -> u64 {
    let text = request.arguments.as_ref().filter(|_| request.name == "translate").and_then(|all| all.get("text"));
    text.and_then(|text| text.as_str()).map_or(1, |text| text.chars().count().max(1) as u64)
}
