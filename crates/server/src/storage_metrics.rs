//! What storage counts, as `/metrics` shows it.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::counter::ConstCounter,
};
use storage::Engine;

/// Reads an engine's counters whenever somebody asks.
pub(crate) struct StorageMetrics(pub(crate) Arc<dyn Engine>);

impl fmt::Debug for StorageMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StorageMetrics").field(self.0.costs()).finish()
    }
}

impl Collector for StorageMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let costs = self.0.costs();
        for (name, help, count) in [
            ("ringback_storage_statements", "Statements that writes ran", costs.statements()),
            ("ringback_storage_commits", "Transactions committed", costs.commits()),
        ] {
            let counter = ConstCounter::new(count);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        Ok(())
    }
}
