//! Whole commands: the binary as users run it, on generated and on real input, against files and a real Kafka.
//!
//! What needs something that is not here (a real archive in `DRIFTGLASS_DATA`, Java and Maven for Kafka, Python for stock readers and an
//! S3 server, a mount namespace for a small disk) says so in one line and passes over.

mod broker;
mod clip;
mod commands;
mod embedding;
mod hostile;
mod house;
mod incidents;
mod kafka;
mod members;
mod outage;
mod privacy;
mod readers;
mod real_archives;
mod real_cats;
mod real_config;
mod real_decode;
mod real_files;
mod real_missing;
mod real_names;
mod real_sql;
mod real_time;
mod recovery;
mod replay;
mod styles;
mod support;
mod upgrade;
