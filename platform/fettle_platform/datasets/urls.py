from django.urls import path

from fettle_platform.datasets.api import FileContentView, FilesView, FileValidationView, FileView
from fettle_platform.datasets.browse_api import BadLinesView, FileRowsView, OverlapView, SplitView, UsableRowsView
from fettle_platform.datasets.upload_api import UploadCancelView, UploadCompleteView, UploadPartsView, UploadsView

urlpatterns = [
    path("files", FilesView.as_view()),
    path("files/<str:file_id>", FileView.as_view()),
    path("files/<str:file_id>/content", FileContentView.as_view()),
    path("fettle/files/<str:file_id>/validation", FileValidationView.as_view()),
    path("fettle/files/<str:file_id>/rows", FileRowsView.as_view()),
    path("fettle/files/<str:file_id>/bad_lines", BadLinesView.as_view()),
    path("fettle/files/<str:file_id>/usable_rows", UsableRowsView.as_view()),
    path("fettle/files/<str:file_id>/split", SplitView.as_view()),
    path("fettle/files/<str:file_id>/overlap", OverlapView.as_view()),
    path("uploads", UploadsView.as_view()),
    path("uploads/<str:upload_id>/parts", UploadPartsView.as_view()),
    path("uploads/<str:upload_id>/complete", UploadCompleteView.as_view()),
    path("uploads/<str:upload_id>/cancel", UploadCancelView.as_view()),
]
