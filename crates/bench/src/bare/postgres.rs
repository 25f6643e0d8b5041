//! One writer over PostgreSQL: one statement a batch over `UNNEST`, the next one made of what queued up meanwhile.

use tokio::sync::mpsc;
use tokio_postgres::{Client, NoTls, Statement, types::Type};

use super::{COUNTS, Job, Write, answer};
use crate::Outcome;

const SCHEMA: &str = "
CREATE TABLE jobs (
  id bytea PRIMARY KEY, callback text NOT NULL, input text NOT NULL,
  created_at bigint NOT NULL, finished_at bigint
) WITH (fillfactor = 80);
CREATE TABLE queue (id bytea PRIMARY KEY, due_at bigint NOT NULL);";

/// Rows in, rows out, in one implicit transaction.
const BATCH: &str = "
WITH fresh AS (SELECT * FROM UNNEST($1::bytea[], $2::text[], $3::text[], $4::bigint[]) AS f(id, callback, input, at)),
     inserted AS (INSERT INTO jobs SELECT id, callback, input, at, NULL FROM fresh),
     enqueued AS (INSERT INTO queue SELECT id, at FROM fresh),
     over AS (SELECT * FROM UNNEST($5::bytea[], $6::bigint[]) AS o(id, at)),
     dequeued AS (DELETE FROM queue q USING over o WHERE q.id = o.id)
UPDATE jobs j SET finished_at = o.at FROM over o WHERE j.id = o.id";

/// Writes until nobody is left to ask for it.
pub(super) fn write(
    url: &str,
    mut writes: mpsc::UnboundedReceiver<Write>,
    hand: &mpsc::UnboundedSender<Job>,
) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        tokio::spawn(connection);
        // The tables are empty when the plan is made: without this it would read them whole for ever.
        client
            .batch_execute("SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off")
            .await?;
        client.batch_execute(SCHEMA).await?;
        let (bytes, text, number) = (Type::BYTEA_ARRAY, Type::TEXT_ARRAY, Type::INT8_ARRAY);
        let types = [bytes.clone(), text.clone(), text, number.clone(), bytes, number];
        let statement = client.prepare_typed(BATCH, &types).await?;
        let mut batch = Vec::new();
        while writes.recv_many(&mut batch, usize::MAX).await > 0 {
            commit(&client, &statement, &batch).await?;
            COUNTS.add(1, 1);
            answer(&mut batch, hand);
        }
        Ok(())
    })
}

async fn commit(client: &Client, statement: &Statement, batch: &[Write]) -> Outcome<()> {
    let (mut ids, mut callbacks, mut inputs, mut times) = (vec![], vec![], vec![], vec![]);
    let (mut over, mut ends) = (vec![], vec![]);
    for write in batch {
        match write {
            Write::Submit(s) => {
                ids.push(s.job.id.to_bytes().to_vec());
                callbacks.push(&*s.job.callback);
                inputs.push(&*s.job.input);
                times.push(s.job.created_at);
            }
            Write::Settle { id, at } => {
                over.push(id.to_bytes().to_vec());
                ends.push(*at);
            }
        }
    }
    client.execute(statement, &[&ids, &callbacks, &inputs, &times, &over, &ends]).await?;
    Ok(())
}
