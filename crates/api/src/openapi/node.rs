//! Nodes, for the API's description. `nodes` writes what is shown.

#![expect(dead_code, reason = "shapes of the document: nobody makes one")]

use std::collections::BTreeMap;

use utoipa::ToSchema;

use super::shape::{Cursor, Time};

/// A process among others.
#[derive(ToSchema)]
pub(crate) struct Node {
    /// Drawn when it joined first.
    id: String,
    name: String,
    version: String,
    /// `ready`, `draining` or `lost`.
    status: String,
    /// One more each time it lost its lease and joined again.
    epoch: i64,
    #[schema(value_type = Time)]
    started_at: String,
    #[schema(value_type = Time)]
    lease_expires_at: String,
    #[schema(value_type = Option<Time>)]
    drain_requested_at: Option<String>,
    /// How many jobs of each task it may run at once.
    slots: BTreeMap<String, u32>,
}

/// All nodes.
#[derive(ToSchema)]
pub(crate) struct NodeList {
    items: Vec<Node>,
    #[schema(value_type = Option<Cursor>)]
    next_cursor: Option<String>,
}
