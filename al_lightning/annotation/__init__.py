"""Exchanges data with annotators and their tools: packages of images to label, and the exports of tools."""
