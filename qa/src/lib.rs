//! What the suites stand on: a running gateway (`world`), providers that do as told (`upstream`), a real Postgres
//! (`postgres`), an HTTP client that hides nothing (`http`) and table helpers (`check`). Everything here sees Alfred
//! from outside, as the contract tells it: no part of the gateway is linked in.

pub mod aimock;
pub mod bulk;
pub mod check;
pub mod cuts;
pub mod faults;
pub mod http;
pub mod network;
pub mod postgres;
pub mod process;
pub mod realtime;
pub mod redis;
pub mod tools;
pub mod upstream;
pub mod vault;
pub mod world;
