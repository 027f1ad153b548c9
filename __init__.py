"""Fooocus Stages: every stage of Fooocus as a ComfyUI node."""

__version__ = "0.1.0"
__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "WEB_DIRECTORY"]

WEB_DIRECTORY = "./web"

if __package__:
    from .nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
    from .nodes.comfy import inside_comfy

    def _serve_if_asked() -> None:
        """Serve the hosted endpoints inside ComfyUI if the user has switched that on, by a variable or in the page."""
        import os

        if not inside_comfy():
            return
        value = os.environ.get("FOOOCUS_STAGES_SERVE")
        if value is None:
            from .nodes.comfy.page_settings import page_setting

            value = {"on": "1", "unchecked": "--safety-checker off"}.get(
                str(page_setting("FooocusStages.Serve.Endpoints"))
            )
        if value:
            from .serving.commands.serve_inside import add_to_comfyui

            add_to_comfyui(value)

    _serve_if_asked()
