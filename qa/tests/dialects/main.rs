//! Every caller's dialect to every target's, through a running gateway, against servers and clients that nobody here wrote.

mod asks;
mod clients;
mod house;
mod matrix;
mod reads;
