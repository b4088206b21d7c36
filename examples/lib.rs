//! The examples of martlet: see the folders beside this file.
