//! Tests of the HTTP room.

mod body;
mod head;
