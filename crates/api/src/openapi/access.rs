//! Keys and tenants, for the API's description. `keys` and `tenants` write what is shown and read what is sent.

#![expect(dead_code, reason = "shapes of the document: nobody makes one")]

use utoipa::ToSchema;

use super::shape::{Cursor, EndpointId, KeyId, LabelText, RoleName, TenantId, Time};

/// A key without its secret.
#[derive(ToSchema)]
pub(crate) struct Key {
    #[schema(value_type = KeyId)]
    id: String,
    /// The key itself: in the answer that made it, and nowhere else.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String)]
    key: Option<String>,
    #[schema(value_type = RoleName)]
    role: String,
    #[schema(value_type = Option<LabelText>)]
    name: Option<String>,
    #[schema(value_type = TenantId)]
    tenant: String,
    /// The one that it is bound to: of a receiver's key.
    #[schema(value_type = Option<EndpointId>)]
    endpoint: Option<String>,
    #[schema(value_type = Time)]
    created_at: String,
}

/// A key to be made.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKey {
    #[schema(value_type = RoleName)]
    role: String,
    #[schema(value_type = Option<LabelText>)]
    name: Option<String>,
    /// An operator's choice; otherwise the caller's own.
    #[schema(value_type = Option<TenantId>)]
    tenant: Option<String>,
    /// With the role receiver, and with no other: the endpoint that it is bound to, and gone with.
    #[schema(value_type = Option<EndpointId>)]
    endpoint: Option<String>,
}

/// A page of keys.
#[derive(ToSchema)]
pub(crate) struct KeyList {
    items: Vec<Key>,
    #[schema(value_type = Option<Cursor>)]
    next_cursor: Option<String>,
}

/// An isolation boundary.
#[derive(ToSchema)]
pub(crate) struct Tenant {
    #[schema(value_type = TenantId)]
    id: String,
    #[schema(value_type = LabelText)]
    name: String,
    #[schema(value_type = Time)]
    created_at: String,
}

/// A tenant to be made.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTenant {
    #[schema(value_type = LabelText)]
    name: String,
}

/// A page of tenants.
#[derive(ToSchema)]
pub(crate) struct TenantList {
    items: Vec<Tenant>,
    #[schema(value_type = Option<Cursor>)]
    next_cursor: Option<String>,
}
